"""What a rank needs to build, train, save and export a sharded decoder; started by torchrun in test_distributed.py.

    torchrun tests/spread_memory.py parts|whole FOLDER

Prints `RANK r BUILT b PEAK n WHOLE m`: bytes by which the rank grew at most until it trains, and altogether, and those
of all weights, gradients and optimiser state. `parts` makes the model without memory, `whole` on every rank before it
is cut up, as other stages do. Memory is what the process has for itself; pages of files are not in it.
"""

import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch

from dodam import machine, ranks
from dodam.data.batch import TokenBatch
from dodam.exchange.families import FAMILIES
from dodam.exchange.mapping import made_theirs, table_of
from dodam.folder import folded
from dodam.models.build import build_decoder, decoder_config, initialize, outline_decoder
from dodam.plan.memory import gradient_bytes, optimizer_bytes, weight_bytes
from dodam.tensors import write_model_tensors
from dodam.train import distributed, sharding
from dodam.train.loop import LoopConfig, train
from dodam.train.objective import TokenCrossEntropy
from dodam.train.optim import OptimConfig, Optimizers
from dodam.train.pieces import put_part
from dodam.train.recompute import recompute_blocks
from dodam.train.state import saved_weights


def live(depth: int, how: str, folder: Path, watch: "Watch") -> tuple[Any, int, int]:
    """A model's life, from its first weights to its file; the model, the most until it trains, what all of it takes."""
    config = decoder_config(vocabulary=256, context=16, depth=depth, width=512)
    model = outline_decoder(config) if how == "parts" else build_decoder(config, 0)
    outline = outline_decoder(config)
    recompute_blocks(model, 1.0)  # else every rank keeps copies of all matrices for the way back
    spread = sharding.shard(model)
    if how == "parts":
        initialize(spread, 0, put_part)
    built = watch.peak
    ids_BT = torch.zeros(1, 16, dtype=torch.long)
    train(
        spread, Optimizers(spread, OptimConfig()), lambda step: [TokenBatch(ids_BT, ids_BT)],
        TokenCrossEntropy(torch.float32), LoopConfig(steps=1), folder=folder,
    )  # fmt: skip
    if not ranks.rank():
        weights = partial(folded, outline, saved_weights(folder, 1, None))
        stored = made_theirs(weights, outline, table_of(FAMILIES[config.family], config))
        write_model_tensors(stored, folder, largest=20_000_000)
    return spread, built, weight_bytes(outline) + gradient_bytes(outline) + optimizer_bytes(outline)


def own() -> int:
    """Bytes of this process's own memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


class Watch(threading.Thread):
    """Looks at it every few milliseconds."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0

    def run(self) -> None:
        while True:
            self.peak = max(self.peak, own())
            time.sleep(0.002)


if __name__ == "__main__":
    distributed.start("cpu", 300.0)
    machine.return_memory()
    live(1, sys.argv[1], Path(sys.argv[2]) / "small", Watch())  # what torch itself takes
    watch, before = Watch(), own()
    watch.start()
    _, built, whole = live(12, sys.argv[1], Path(sys.argv[2]) / "large", watch)
    told = f"BUILT {built - before} PEAK {watch.peak - before} WHOLE {whole}"
    print(f"RANK {ranks.rank()} {told}", flush=True)
