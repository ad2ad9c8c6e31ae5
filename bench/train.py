"""Training throughput: ours against the same model in plain eager fp32 PyTorch, in turns within one process.

    python bench/train.py [--sizes 1M 2M 10M] [--pairs 5] [--seconds 4]

Each pair times some steps of the one and then of the other on the same random tokens; what is printed is the median of
each side and the median of the pairwise ratios. "Plain" is the same network written with torch's own parts (fused
attention, fused AdamW, `cross_entropy` over all logits) as a careful person would write it first: fp32, eager.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from dodam import machine as machines
from dodam.data.batch import TokenBatch
from dodam.models.build import build_decoder, decoder_config, flops_per_token, num_parameters
from dodam.models.decoder import DecoderConfig
from dodam.stages.compiling import compile_blocks
from dodam.train.loop import one_step
from dodam.train.objective import TokenCrossEntropy
from dodam.train.optim import OptimConfig, Optimizers

# name: depth, width, heads, kv heads, vocabulary, rows, context
SIZES = {
    "1M": (4, 128, 2, 1, 1024, 8, 256),
    "2M": (4, 192, 3, 1, 2048, 8, 256),
    "10M": (6, 320, 5, 5, 4096, 8, 512),
    "30M": (8, 512, 8, 4, 8192, 8, 512),
}


class PlainBlock(nn.Module):
    def __init__(self, c: DecoderConfig) -> None:
        super().__init__()
        self.c = c
        self.norm1, self.norm2 = nn.RMSNorm(c.width), nn.RMSNorm(c.width)
        self.query_norm, self.key_norm = nn.RMSNorm(c.head_dim), nn.RMSNorm(c.head_dim)
        self.query = nn.Linear(c.width, c.heads * c.head_dim, bias=False)
        self.key = nn.Linear(c.width, c.kv_heads * c.head_dim, bias=False)
        self.value = nn.Linear(c.width, c.kv_heads * c.head_dim, bias=False)
        self.output = nn.Linear(c.heads * c.head_dim, c.width, bias=False)
        self.gate = nn.Linear(c.width, c.feedforward_size, bias=False)
        self.up = nn.Linear(c.width, c.feedforward_size, bias=False)
        self.down = nn.Linear(c.feedforward_size, c.width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        B, T, _ = x.shape
        h = self.norm1(x)
        q = self.query_norm(self.query(h).view(B, T, self.c.heads, -1)).transpose(1, 2)
        k = self.key_norm(self.key(h).view(B, T, self.c.kv_heads, -1)).transpose(1, 2)
        v = self.value(h).view(B, T, self.c.kv_heads, -1).transpose(1, 2)
        q, k = (t * cos + torch.cat([-t.chunk(2, -1)[1], t.chunk(2, -1)[0]], -1) * sin for t in (q, k))
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        x = x + self.output(a.transpose(1, 2).reshape(B, T, -1))
        h = self.norm2(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Plain(nn.Module):
    def __init__(self, c: DecoderConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(c.vocabulary, c.width)
        self.blocks = nn.ModuleList(PlainBlock(c) for _ in range(c.depth))
        self.norm, self.head = nn.RMSNorm(c.width), nn.Linear(c.width, c.vocabulary, bias=False)
        from dodam.nn.position import rotary_table

        cos, sin = rotary_table(c.head_dim, c.context, c.theta)
        self.register_buffer("cos", cos)
        self.register_buffer("sin", sin)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids)
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        return self.head(self.norm(x))


def plain_step(config: DecoderConfig, batch: TokenBatch) -> Callable[[], object]:
    torch.manual_seed(0)
    model = Plain(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

    def step() -> None:
        loss = F.cross_entropy(model(batch.ids_BT).flatten(0, 1), batch.labels_BT.flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def our_step(config: DecoderConfig, batch: TokenBatch, machine: machines.Machine) -> Callable[[], object]:
    model = build_decoder(config, 0)
    if machine.compiler:
        compile_blocks(model)
    optimizers, objective = (
        Optimizers(model, OptimConfig()),
        TokenCrossEntropy(machine.torch_dtype, compiled=machine.compiler),
    )
    return lambda: one_step(model, optimizers, [batch], objective, 1.0, 1.0, "cpu")


def measure(step: Callable[[], object], seconds: float) -> float:
    """Median seconds of a step within about `seconds`."""
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    options = parser.parse_args()
    machine = machines.look("cpu")
    torch.set_num_threads(machine.threads)
    name = platform.processor() or platform.machine()
    print(f"{name}, {machine.threads} threads, {machine.dtype}, torch {torch.__version__}")
    for name in options.sizes:
        depth, width, heads, kv_heads, vocabulary, rows, context = SIZES[name]
        config = decoder_config(
            vocabulary=vocabulary, context=context, depth=depth, width=width, heads=heads, kv_heads=kv_heads
        )
        ids = torch.randint(0, vocabulary, (rows, context + 1), generator=torch.Generator().manual_seed(0))
        batch = TokenBatch(ids[:, :-1].contiguous(), ids[:, 1:].contiguous())
        plain = plain_step(config, batch)
        measure(plain, 1.0)
        machines.use(machine)  # the allocator's settings are part of ours; the plain side profits from them too
        ours = our_step(config, batch, machine)
        measure(ours, 1.0)
        plains, ourss = [], []
        for _ in range(options.pairs):
            plains.append(measure(plain, options.seconds))
            ourss.append(measure(ours, options.seconds))
        tokens = rows * context
        row = {
            "size": name,
            "parameters": num_parameters(config),
            "plain_tokens_per_second": round(tokens / statistics.median(plains)),
            "our_tokens_per_second": round(tokens / statistics.median(ourss)),
            "ratio": round(statistics.median(p / o for p, o in zip(plains, ourss, strict=True)), 2),
            "our_gflops": round(flops_per_token(config, context) * tokens / statistics.median(ourss) / 1e9),
        }
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
