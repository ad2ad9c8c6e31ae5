"""What a busy neighbour costs: a step of pretraining alone and beside an endless loop, with several ways of waiting.

    python bench/busy.py [--sizes 1M 10M] [--spins unset 0 1000 10000 100000] [--pairs 3]

OpenMP's threads wait for one another at the end of every parallel part. `GOMP_SPINCOUNT` says how many turns they spin
before they sleep: spinning is quick while both cores are ours, and holds a neighbour's core for nothing when not.
Each way is a process of its own (bench/train.py --side ours) and measures by turns, first all of them alone, then all
beside the loop. Prints a JSON line each: milliseconds alone, busy, and how many times longer that is.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from train import SIZES, Side  # beside this file

UNSET = "unset"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["1M", "10M"], choices=list(SIZES))
    parser.add_argument("--spins", nargs="+", default=[UNSET, "0", "1000", "10000", "100000"])
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    asked = parser.parse_args()
    for size in asked.sizes:
        sides = {spins: side_of(size, spins, asked.seconds) for spins in asked.spins}
        found: dict[str, dict[str, list[float]]] = {spins: {"alone": [], "busy": []} for spins in sides}
        for _ in range(asked.pairs):
            for when in ("alone", "busy"):
                for spins, side in sides.items():
                    loop = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if when == "busy" else None
                    try:
                        found[spins][when].append(1000 * side.measure()["seconds"])
                    finally:
                        if loop:
                            loop.kill()
        for spins, side in sides.items():
            side.end()
            alone, busy = (statistics.median(found[spins][when]) for when in ("alone", "busy"))
            row = {"size": size, "GOMP_SPINCOUNT": spins, "alone_ms": round(alone, 1), "busy_ms": round(busy, 1)}
            print(json.dumps({**row, "times": round(busy / alone, 2)}), flush=True)


def side_of(size: str, spins: str, seconds: float) -> Side:
    asked: Any = SimpleNamespace(trl=sys.executable, device="cpu", seconds=seconds, rows=None, threads=None)
    return Side(asked, "ours", size, None if spins == UNSET else {"GOMP_SPINCOUNT": spins})


if __name__ == "__main__":
    main()
