"""Trainings that were published, reckoned with the table as it stands: what comes out and what was told.

`docs/plan.md` shows these rows with their sources. The table's efficiencies are round numbers that were set with these
runs known; those of the V100, and its price, are taken from the estimate it is held against.
"""

from dataclasses import dataclass
from typing import Any

from dodam.models.build import flops_per_token
from dodam.models.decoder import DecoderConfig
from dodam.plan.cluster import FORWARD, Failures, Layout, step, utilization
from dodam.plan.cost import HOUR, cost, seconds_of
from dodam.plan.hardware import TABLE

LLAMA: dict[str, Any] = {"head_dim": 128, "qk_norm": False, "family": "llama"}
GPT: dict[str, Any] = {
    "norm": "layer", "qk_norm": False, "qkv_bias": True, "output_bias": True, "feedforward_bias": True, "gated": False,
    "activation": "gelu", "learned_positions": True, "tied": True, "family": "gpt2",
}  # fmt: skip


def llama(depth: int, width: int, kv_heads: int, feedforward: int, vocabulary: int, context: int) -> DecoderConfig:
    return DecoderConfig(
        depth=depth, width=width, heads=width // 128, kv_heads=kv_heads, feedforward_size=feedforward,
        vocabulary=vocabulary, context=context, **LLAMA,
    )  # fmt: skip


def gpt(depth: int, width: int, heads: int, vocabulary: int, context: int) -> DecoderConfig:
    return DecoderConfig(
        depth=depth, width=width, heads=heads, kv_heads=heads, head_dim=width // heads, feedforward_size=4 * width,
        vocabulary=vocabulary, context=context, **GPT,
    )  # fmt: skip


GPT_3 = gpt(96, 12_288, 96, 50_257, 2048)
LLAMA_2_7B = llama(32, 4096, 32, 11_008, 32_000, 4096)
LLAMA_2_70B = llama(80, 8192, 8, 28_672, 32_000, 4096)
LLAMA_3_8B = llama(32, 4096, 8, 14_336, 128_256, 8192)
LLAMA_3_70B = llama(80, 8192, 8, 28_672, 128_256, 8192)
LLAMA_3_405B = llama(126, 16_384, 8, 53_248, 128_256, 8192)
TINY_LLAMA = DecoderConfig(
    depth=22, width=2048, heads=32, kv_heads=4, feedforward_size=5632, vocabulary=32_000, context=2048,
    **(LLAMA | {"head_dim": 64}),
)  # fmt: skip
NANOCHAT_D20 = DecoderConfig(
    depth=20, width=1280, heads=10, kv_heads=10, head_dim=128, feedforward_size=5120, vocabulary=65_536, context=2048,
    gated=False, activation="relu",
)  # fmt: skip

# Dubey et al. 2024, table 4; one row at a time. Parts in turns are assumed: as many as a device has whole blocks.
LLAMA_3_8K = Layout(devices=8192, tensor=8, pipeline=16, chunks=7, batch=2048, sharding="optimizer")
LLAMA_3_16K = Layout(devices=16_384, tensor=8, pipeline=16, chunks=7, batch=2048, sharding="optimizer")


@dataclass(frozen=True, kw_only=True)
class Published:
    """One figure that was told, and ours."""

    name: str
    unit: str
    told: float
    reckoned: float

    @property
    def error(self) -> float:
        return self.reckoned / self.told - 1


def hours(sizes: DecoderConfig, tokens: float, on: str) -> float:
    """Device hours to train on so many tokens, were no device ever to wait for another."""
    return seconds_of(flops_per_token(sizes, sizes.context) * tokens, 1, TABLE[on]) / HOUR


def cluster_hours(sizes: DecoderConfig, tokens: float, on: str, layout: Layout) -> float:
    """The same on a cluster, with its waiting and its failures."""
    steps = tokens / (layout.batch * sizes.context)
    failures = Failures()
    slowdown = failures.slowdown(layout.devices, failures.interval(layout.devices))
    return steps * step(sizes, sizes.context, TABLE[on], layout).seconds * slowdown * layout.devices / HOUR


def runs() -> list[Published]:
    """Whole trainings."""
    gpt_3 = flops_per_token(GPT_3, 2048) * 300e9
    tiny = TABLE["a100-40gb"].rate / flops_per_token(TINY_LLAMA, 2048)
    nanochat = hours(NANOCHAT_D20, 11.2e9, "h100-sxm") / 8
    v100 = TABLE["v100-32gb"]
    dollars = cost(seconds_of(gpt_3, 1, v100), 1, v100).dollars or 0.0
    in_405b = cluster_hours(LLAMA_3_405B, 15.6e12, "h100-sxm", LLAMA_3_16K)
    rows = [
        ("GPT-3 175B", "FLOPs", 3.14e23, gpt_3),
        ("GPT-3 175B on V100", "dollars", 4.6e6, dollars),
        ("Llama 2 7B", "A100 hours", 184_320, hours(LLAMA_2_7B, 2e12, "a100-80gb")),
        ("Llama 2 70B", "A100 hours", 1_720_320, hours(LLAMA_2_70B, 2e12, "a100-80gb")),
        ("Llama 3 8B", "H100 hours", 1.3e6, hours(LLAMA_3_8B, 15e12, "h100-sxm")),
        ("Llama 3 70B", "H100 hours", 6.4e6, hours(LLAMA_3_70B, 15e12, "h100-sxm")),
        ("Llama 3.1 405B", "H100 hours", 30.84e6, in_405b),
        ("TinyLlama 1.1B", "tokens/s of an A100", 24_000, tiny),
        ("TinyLlama 1.1B on 16 A100", "days", 90, 3e12 / (16 * tiny) / 86_400),
        ("nanochat d20 on 8 H100", "hours", 4, nanochat),
        ("nanochat d20 on 8 H100", "dollars", 100, 24 * nanochat),
    ]
    return [Published(name=name, unit=unit, told=told, reckoned=ours) for name, unit, told, ours in rows]


def steps() -> list[Published]:
    """Shares of the peak on clusters: of Llama 3 the model's own work, of Megatron-LM with what is computed again."""
    h100, a100 = TABLE["h100-sxm"], TABLE["a100-80gb"]
    megatron = [  # Narayanan et al. 2021, table 1; one row at a time, no parts in turns
        ("Megatron-LM 18.4B, 256 A100", 0.43, gpt(40, 6144, 48, 51_200, 2048), (256, 8, 1, 1024)),
        ("Megatron-LM 145.6B, 1,536 A100", 0.47, gpt(80, 12_288, 96, 51_200, 2048), (1536, 8, 8, 2304)),
        ("Megatron-LM 1,008B, 3,072 A100", 0.52, gpt(128, 25_600, 160, 51_200, 2048), (3072, 8, 64, 3072)),
    ]
    rows = [
        ("Llama 3 405B, 8,192 H100", 0.43, utilization(LLAMA_3_405B, 8192, h100, LLAMA_3_8K)),
        ("Llama 3 405B, 16,384 H100", 0.41, utilization(LLAMA_3_405B, 8192, h100, LLAMA_3_16K)),
    ]
    for name, told, sizes, (devices, tensor, pipeline, batch) in megatron:
        layout = Layout(
            devices=devices, tensor=tensor, pipeline=pipeline, batch=batch, sharding="optimizer", recompute=1.0
        )
        rows.append((name, told, (1 + FORWARD) * utilization(sizes, 2048, a100, layout)))
    return [Published(name=name, unit="of the peak", told=told, reckoned=ours) for name, told, ours in rows]
