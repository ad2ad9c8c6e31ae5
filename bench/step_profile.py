"""Where the time of a step goes: a plain model in fp32 and ours, by kind of operation.

    python bench/step_profile.py [--sizes 10M 30M] [--steps 3]

The models, tokens and steps are those of bench/train.py. torch's profiler tells how long each operation has taken on
the thread that calls it, without those inside it. Prints a table for each size: milliseconds of a step and their share.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from torch.profiler import ProfilerActivity, profile

sys.path.insert(0, str(Path(__file__).resolve().parent))

from train import BUILDERS, SIZES, config_of  # beside this file

KINDS = {  # the first of these that is in an operation's name
    "matrix products": ("mm", "linear", "matmul", "gemm"),
    "attention": ("attention", "softmax"),
    "loss": ("cross_entropy", "nll_loss", "logsumexp"),
    "optimiser": ("adam", "foreach", "_fused", "lerp"),
    "compiled": ("ompiled", "graph", "inductor"),
    "norms and pointwise": (
        "norm", "mul", "add", "silu", "rsqrt", "pow", "mean", "div", "neg", "sum", "sub", "exp", "sqrt", "sigmoid",
    ),
    "copies": ("copy", "cat", "clone", "_to_copy", "contiguous", "fill", "zero", "empty", "stack"),
    "embedding, indices": ("embedding", "index", "gather", "scatter", "slice", "nonzero"),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["10M", "30M"], choices=list(SIZES))
    parser.add_argument("--steps", type=int, default=3)
    asked = parser.parse_args()
    for size in asked.sizes:
        found = {side: profiled(side, size, asked.steps) for side in ("plain", "ours")}
        print(f"\n{size}\n\n| kind | plain, fp32: ms a step | share | ours: ms a step | share |\n|---|---|---|---|---|")
        whole = {side: sum(times.values()) for side, times in found.items()}
        for kind in sorted(set().union(*found.values()), key=lambda kind: -found["plain"][kind]):
            cells = [f"{found[side][kind]:,.1f} | {found[side][kind] / whole[side]:.0%}" for side in found]
            print(f"| {kind} | {' | '.join(cells)} |")
        print(f"| together | {whole['plain']:,.1f} | | {whole['ours']:,.1f} | |", flush=True)


def profiled(side: str, size: str, steps: int) -> Counter[str]:
    """Milliseconds of a step by kind."""
    from dodam import machine as machines

    machine = machines.look("cpu", None)
    machines.use(machine)
    step: Any = BUILDERS[side](config_of(size), SIZES[size][-1], machine, 0.0).step
    for _ in range(3):
        step()
    with profile(activities=[ProfilerActivity.CPU]) as watch:
        for _ in range(steps):
            step()
    times: Counter[str] = Counter()
    for event in watch.key_averages():
        kind = next((kind for kind, names in KINDS.items() if any(name in event.key for name in names)), "other")
        times[kind] += event.self_cpu_time_total / 1000 / steps
    return times


if __name__ == "__main__":
    main()
