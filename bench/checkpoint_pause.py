"""How long a checkpoint holds up the steps: a decoder of 33M numbers on the CPU, a checkpoint after every fifth step.

    PYTHONPATH=src python bench/checkpoint_pause.py FOLDER

Prints the median step, the median of those that hold the beginning of a checkpoint and of those after them, and how
long the loop stood still for one. FOLDER is written and removed. PYTHONPATH says which Dodam is measured.
"""

import shutil
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch

from dodam.data.batch import TokenBatch
from dodam.models.build import build_decoder, decoder_config
from dodam.train.loop import LoopConfig, train
from dodam.train.objective import TokenCrossEntropy
from dodam.train.optim import OptimConfig, Optimizers
from dodam.train.state import Run

STEPS, EVERY = 16, 5


class Times:
    """A hook that notes when each step is told of, which is before its checkpoint."""

    def __init__(self) -> None:
        self.at: list[float] = []

    def start(self, step: int) -> None: ...
    def step(self, row: dict[str, Any]) -> None:
        self.at.append(time.perf_counter())

    def validate(self, row: dict[str, Any]) -> None: ...
    def end(self) -> None: ...


def main(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    torch.set_num_threads(1)
    model = build_decoder(decoder_config(vocabulary=8192, context=128, depth=8, width=512), 0)
    ids_BT = torch.randint(0, 8192, (1, 65), generator=torch.Generator().manual_seed(0))
    batch, times, save = TokenBatch(ids_BT[:, :-1], ids_BT[:, 1:]), Times(), Run.save
    held: list[float] = []

    def timed(self: Run, plan: Any) -> None:
        if self.step % EVERY and self.step < STEPS:
            return
        began = time.perf_counter()
        save(self, plan)
        held.append(time.perf_counter() - began)

    Run.save = timed  # type: ignore[method-assign]
    config = LoopConfig(steps=STEPS, log_every=1, checkpoint_seconds=0.0)
    train(
        model, Optimizers(model, OptimConfig()), lambda step: [batch], TokenCrossEntropy(torch.float32), config,
        folder=folder, hooks=[times],
    )  # fmt: skip
    gaps = [after - before for before, after in zip(times.at, times.at[1:], strict=False)]  # gaps[n]: of step n + 2
    with_save = [gap for step, gap in enumerate(gaps, start=1) if step % EVERY == 0]
    after_save = [gap for step, gap in enumerate(gaps, start=1) if step % EVERY == 1 and step > 1]
    others = [gap for step, gap in enumerate(gaps, start=1) if step % EVERY not in (0, 1)]
    print(f"{sum(one.numel() for one in model.parameters()) / 1e6:.1f}M parameters", end=", ")
    print(f"{sum(file.stat().st_size for file in folder.rglob('*.safetensors')) / 2e6:.0f} MB a checkpoint")
    print(
        f"step alone {median(others):.2f} s, with a save {median(with_save):.2f} s, the next {median(after_save):.2f} s"
    )
    print(f"save() returned after {median(held[1:-1]):.2f} s (longest {max(held[1:-1]):.2f} s)")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
