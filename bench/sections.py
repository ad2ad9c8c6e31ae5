"""What a rank needs for a long row: memory and seconds of a step of a decoder, alone and with sections of the row.

    python bench/sections.py --context 4096
    torchrun --standalone --nproc-per-node 2 bench/sections.py --context 4096

Prints of every rank the bytes by which one step grows the process beside weights, gradients and optimiser state.
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

import torch

from dodam import machine, ranks
from dodam.data.batch import TokenBatch
from dodam.models.build import build_decoder, decoder_config
from dodam.train import distributed
from dodam.train.loop import one_step
from dodam.train.objective import TokenCrossEntropy
from dodam.train.optim import OptimConfig, Optimizers


def memory(name: str) -> int:
    """Bytes that Linux tells of this process: VmRSS now, VmHWM at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--context", type=int, default=4096)
    parser.add_argument("--depth", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(1)
    distributed.start("cpu", 300.0)
    ranks.set_together(tensor=1, pipeline=1, context=ranks.started())
    machine.return_memory()
    model = build_decoder(decoder_config(vocabulary=4096, context=options.context, depth=options.depth), 0)
    optimizers, objective = Optimizers(model, OptimConfig()), TokenCrossEntropy(torch.bfloat16)
    ids_BT = torch.randint(4096, (1, options.context), generator=torch.Generator().manual_seed(0))

    def step() -> None:
        one_step(model, optimizers, [TokenBatch(ids_BT, ids_BT)], objective, 1.0, 1.0, "cpu")

    step()
    Path("/proc/self/clear_refs").write_text("5")  # the most so far is forgotten
    before, start = memory("VmRSS"), time.perf_counter()
    step()
    seconds = time.perf_counter() - start
    grew = (memory("VmHWM") - before) / 1e6
    print(
        f"rank {ranks.rank()} of {ranks.world()}: {options.context} tokens, {grew:.0f} MB, {seconds:.2f} s", flush=True
    )


if __name__ == "__main__":
    main()
