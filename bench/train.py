"""A step of pretraining: ours beside plain PyTorch, transformers' Trainer and TRL's SFTTrainer, by turns.

    python bench/train.py [--sizes 10M 30M] [--sides ours float8 plain transformers trl] [--trl VENV/bin/python]

The same network (Qwen3's shape), the same random tokens. `plain` is what a careful person writes first: fp32, eager,
torch's fused attention and fused AdamW, `cross_entropy` over all logits; `transformers` and `trl` multiply in bf16
where the machine is fast at it, as ours does; `float8` is ours with --float8. Each side is a process of its own and
waits while the others work; --trl names a Python that has trl. Prints a JSON line a side: tokens a second, peak memory,
the share of the matrix rate (the median over this model's own products, forward and backward, measured in the same
run), for ours the optimiser's share of a step; and for the others how many times faster ours is, the median over the
pairs.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

# name: depth, width, heads, kv heads, vocabulary, context, rows of a step
SIZES = {
    "1M": (4, 128, 2, 1, 1024, 256, 8),
    "2M": (4, 192, 3, 1, 2048, 256, 8),
    "10M": (6, 320, 5, 5, 4096, 512, 8),
    "30M": (8, 512, 8, 4, 8192, 512, 8),
    "124M": (12, 768, 12, 12, 32_768, 1024, 4),
    "350M": (24, 1024, 16, 16, 32_768, 1024, 4),
    "1.5B": (28, 1536, 12, 2, 151_936, 2048, 4),
    "3B": (36, 2048, 16, 2, 151_936, 2048, 4),
}
SIDES = ("ours", "plain", "transformers", "trl", "float8")
Step = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["1M", "10M", "30M"], choices=list(SIZES))
    parser.add_argument("--sides", nargs="+", default=list(SIDES[:3]), choices=SIDES)
    parser.add_argument("--trl", default=sys.executable, help="the Python that has trl")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each side in each pair, at least three steps")
    parser.add_argument("--rows", type=int, help="of a step; else as many as go well with the size")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.side:
        serve(asked)
        return
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}", flush=True)
    for size in asked.sizes:
        for row in compare(asked, size):
            print(json.dumps(row), flush=True)


def compare(asked: argparse.Namespace, size: str) -> list[dict[str, Any]]:
    """Take turns, and what was found of each side."""
    sides = {side: Side(asked, side, size) for side in dict.fromkeys(["ours", *asked.sides])}
    found: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for _ in range(asked.pairs):
        for name, side in sides.items():
            found[name].append(side.measure())
    for side in sides.values():
        side.end()
    rows = []
    for name, turns in found.items():
        about = sides[name].about
        seconds = statistics.median(turn["seconds"] for turn in turns)
        row = {"size": size, "side": name, "parameters": about["parameters"], "dtype": about["dtype"]}
        row |= {"tokens_per_second": round(about["tokens"] / seconds), "step_seconds": round(seconds, 4)}
        row |= {"memory_GB": round(max(turn["memory"] for turn in turns) / 1e9, 2)}
        rate = statistics.median(turn["rate"] for turn in found["ours"])
        row |= {"of_matrix_rate": round(about["flops"] / seconds / rate, 3), "matrix_TFLOPs": round(rate / 1e12, 3)}
        if name == "ours":
            row |= {"optimiser_share": round(statistics.median(turn["optimiser"] for turn in turns), 3)}
            row |= {"least_tokens_for_15%": 32 * SIZES[size][1], "tokens_of_a_step": about["tokens"]}
        else:
            pairs = zip(turns, found["ours"], strict=True)
            ratios = [theirs["seconds"] / ours["seconds"] for theirs, ours in pairs]
            row |= {"ours_is_faster": round(statistics.median(ratios), 2), "ratios": [round(one, 2) for one in ratios]}
        rows.append(row)
    return rows


class Side:
    """A process that measures when it is told to."""

    def __init__(self, asked: argparse.Namespace, side: str, size: str, waiting: dict[str, str] | None = None) -> None:
        python = asked.trl if side == "trl" else sys.executable
        words = [python, __file__, "--side", side, "--sizes", size, "--device", asked.device]
        words += ["--seconds", str(asked.seconds)]
        words += [f"--{key}={value}" for key in ("rows", "threads") if (value := getattr(asked, key))]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        environment |= waiting or {}
        self.name = side
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, bufsize=1
        )
        self.about = self.heard()

    def heard(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(SIGN):
                return json.loads(line.removeprefix(SIGN))
        raise SystemExit(f"{self.name} ended; what it said stands above.")

    def measure(self) -> dict[str, float]:
        assert self.process.stdin is not None
        print("go", file=self.process.stdin, flush=True)
        return self.heard()

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


SIGN = "FOUND "


def say(**values: Any) -> None:
    print(SIGN + json.dumps(values), flush=True)


@dataclass(frozen=True)
class Built:
    """A side as it stands: its step, and what measures it."""

    measure: Callable[[], dict[str, float]]
    step: Step


def config_of(size: str) -> Any:
    """Our shape of a size."""
    from dodam.models.build import decoder_config

    depth, width, heads, kv_heads, vocabulary, context, _ = SIZES[size]
    return decoder_config(
        vocabulary=vocabulary, context=context, depth=depth, width=width, heads=heads, kv_heads=kv_heads
    )


def serve(asked: argparse.Namespace) -> None:
    """One side: build, warm up, tell what was built; then, at each line, measure and tell."""
    from dodam import machine as machines
    from dodam.models.build import flops_per_token, num_parameters

    machine = machines.look(asked.device, asked.threads)
    if asked.side in ("ours", "float8"):
        machines.use(machine)
    torch.set_num_threads(machine.threads)
    config, rows = config_of(asked.sizes[0]), asked.rows or SIZES[asked.sizes[0]][-1]
    measure = BUILDERS[asked.side](config, rows, machine, asked.seconds).measure
    measure()
    tokens = rows * config.context
    flops = flops_per_token(config, config.context) * tokens
    about = {"parameters": num_parameters(config), "tokens": tokens, "flops": flops}
    say(**about, dtype="float32" if asked.side == "plain" else machine.dtype)
    for _ in sys.stdin:
        found = measure()
        if asked.side == "ours":
            found["rate"] = matrix_rate(config, tokens, machine)
        say(**found, memory=peak_memory(machine.device))


def peak_memory(device: str) -> int:
    """Bytes at the most: of the GPU's memory, or of the process."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def times_of(step: Step, device: str, seconds: float) -> float:
    """Median seconds of a step, within about `seconds`, of three at least."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        step()
        wait(device)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def matrix_rate(config: Any, tokens: int, machine: Any) -> float:
    """FLOP/s: the median over the products of this model, each forward and to both sides backward."""
    head = config.heads * config.head_dim
    shapes = {(config.width, head), (config.width, config.kv_heads * config.head_dim), (head, config.width)}
    shapes |= {(config.width, config.feedforward_size), (config.feedforward_size, config.width)}
    shapes |= {(config.width, config.vocabulary)}
    rates = []
    for one, other in shapes:
        rows = min(tokens, 1024) if other == config.vocabulary else tokens  # logits are made in parts
        places = {"device": machine.device, "dtype": machine.torch_dtype}
        x, w, y = (torch.randn(a, b, **places) for a, b in ((rows, one), (one, other), (rows, other)))
        for left, right in ((x, w), (y, w.T), (x.T, y)):
            seconds = times_of(lambda a=left, b=right: a @ b, machine.device, 0.05)  # type: ignore[misc]
            rates.append(2 * rows * one * other / seconds)
    return statistics.median(rates)


def tokens_of(config: Any, rows: int, device: str) -> tuple[Tensor, Tensor]:
    ids = torch.randint(3, config.vocabulary, (rows, config.context + 1), generator=torch.Generator().manual_seed(0))
    return ids[:, :-1].contiguous().to(device), ids[:, 1:].contiguous().to(device)


def ours(config: Any, rows: int, machine: Any, seconds: float, *, eight: bool = False) -> Built:
    from dodam.data.batch import TokenBatch
    from dodam.models.build import build_decoder
    from dodam.nn.float8 import use_float8
    from dodam.stages.compiling import compile_blocks
    from dodam.train.loop import one_step
    from dodam.train.objective import TokenCrossEntropy
    from dodam.train.optim import OptimConfig, Optimizers

    model = build_decoder(config, 0).to(machine.device)
    if eight:
        use_float8(model)
    if machine.compiler:
        compile_blocks(model)
    optimizers = Optimizers(model, OptimConfig())
    objective = TokenCrossEntropy(machine.torch_dtype, compiled=machine.compiler)
    batch = TokenBatch(*tokens_of(config, rows, machine.device))

    def whole() -> None:
        one_step(model, optimizers, [batch], objective, 1.0, 1.0, machine.device)

    def measure() -> dict[str, float]:
        step = times_of(whole, machine.device, seconds)
        for parameter in optimizers.parameters:
            parameter.grad = torch.ones_like(parameter)
        return {"seconds": step, "optimiser": times_of(lambda: optimizers.step(1.0), machine.device, 0.0) / step}

    return Built(measure, whole)


class PlainBlock(nn.Module):
    def __init__(self, c: Any) -> None:
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
    def __init__(self, c: Any) -> None:
        super().__init__()
        from dodam.nn.position import rotary_table

        self.embedding = nn.Embedding(c.vocabulary, c.width)
        self.blocks = nn.ModuleList(PlainBlock(c) for _ in range(c.depth))
        self.norm, self.head = nn.RMSNorm(c.width), nn.Linear(c.width, c.vocabulary, bias=False)
        cos, sin = rotary_table(c.head_dim, c.context, c.theta)
        self.register_buffer("cos", cos)
        self.register_buffer("sin", sin)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids)
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        return self.head(self.norm(x))


def plain(config: Any, rows: int, machine: Any, seconds: float) -> Built:
    torch.manual_seed(0)
    model = Plain(config).to(machine.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    ids_BT, labels_BT = tokens_of(config, rows, machine.device)

    def step() -> None:
        loss = F.cross_entropy(model(ids_BT).flatten(0, 1), labels_BT.flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return Built(lambda: {"seconds": times_of(step, machine.device, seconds)}, step)


def trained(config: Any, machine: Any, seconds: float, build: Callable[[Any, dict[str, Any]], Any]) -> Built:
    """What measures a Trainer: the median time between the ends of its steps. `build`: from the model and the settings
    that both of them take."""
    import tempfile

    from transformers import AutoConfig, AutoModelForCausalLM, TrainerCallback

    from dodam.folder import config_json
    from dodam.models.decoder import Decoder

    with torch.device("meta"):
        values = config_json(Decoder(config))
    values.pop("torch_dtype", None)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(values.pop("model_type"), **values))
    settings = {
        "output_dir": tempfile.gettempdir(), "max_steps": 1_000_000, "bf16": machine.dtype == "bfloat16",
        "use_cpu": machine.device == "cpu", "report_to": "none", "save_strategy": "no", "logging_steps": 1_000_000,
        "disable_tqdm": True, "gradient_checkpointing": False, "learning_rate": 1e-3,
    }  # fmt: skip
    trainer = build(model.float(), settings)
    ends: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, _arguments: Any, _state: Any, control: Any, **_: Any) -> Any:
            wait(machine.device)
            ends.append(time.perf_counter())
            control.should_training_stop = len(ends) > 3 and ends[-1] - ends[0] > seconds
            return control

    trainer.add_callback(Clock())

    def measure() -> dict[str, float]:
        ends.clear()
        trainer.train()
        return {"seconds": statistics.median(b - a for a, b in pairwise(ends))}

    return Built(measure, trainer.train)


def rows_of(config: Any) -> list[dict[str, list[int]]]:
    """Enough rows of tokens for a Trainer to draw from."""
    ids_BT, _ = tokens_of(config, 64, "cpu")
    return [{"input_ids": row, "labels": row, "attention_mask": [1] * len(row)} for row in ids_BT.tolist()]


def transformers(config: Any, rows: int, machine: Any, seconds: float) -> Built:
    from transformers import Trainer, TrainingArguments, default_data_collator

    def build(model: Any, settings: dict[str, Any]) -> Any:
        arguments = TrainingArguments(per_device_train_batch_size=rows, **settings)
        return Trainer(model, arguments, default_data_collator, rows_of(config))  # type: ignore[arg-type]

    return trained(config, machine, seconds, build)


def trl(config: Any, rows: int, machine: Any, seconds: float) -> Built:
    from datasets import Dataset
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast
    from trl import SFTConfig, SFTTrainer

    names = {f"<{place}>": place for place in range(config.vocabulary)}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(names, unk_token="<0>")), pad_token="<0>", eos_token="<1>"
    )

    def build(model: Any, settings: dict[str, Any]) -> Any:
        arguments = SFTConfig(per_device_train_batch_size=rows, max_length=config.context, **settings)
        data = Dataset.from_list([{"input_ids": row["input_ids"]} for row in rows_of(config)])
        return SFTTrainer(model, args=arguments, train_dataset=data, processing_class=tokenizer)

    return trained(config, machine, seconds, build)


BUILDERS = {"ours": ours, "plain": plain, "transformers": transformers, "trl": trl, "float8": partial(ours, eight=True)}


if __name__ == "__main__":
    main()
