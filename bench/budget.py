"""Whether `--budget` is kept: wall time of whole `dodam pretrain` processes, on a quiet and on a busy machine.

    python bench/budget.py DATA TOKENIZER [--budget 3m] [--busy 1]

`--busy N` runs N endless loops beside it. Prints wall seconds, the share they are off, and the validation's bits per
byte. A run that has read its data often enough ends early, so DATA must be large for the budget.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from dodam.config import seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("tokenizer")
    parser.add_argument("--budget", nargs="+", default=["3m"])
    parser.add_argument("--busy", type=int, default=0)
    parser.add_argument("--context", default="256")
    options = parser.parse_args()
    for budget in options.budget:
        neighbours = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(options.busy)]
        try:
            with tempfile.TemporaryDirectory() as folder:
                words = ["--data", options.data, "--tokenizer", options.tokenizer, "--context", options.context]
                words += ["--budget", budget, "--out", f"{folder}/run", "--json"]
                start = time.perf_counter()
                done = subprocess.run(
                    [sys.executable, "-m", "dodam", "pretrain", *words], capture_output=True, text=True, check=True
                )
                wall = time.perf_counter() - start
        finally:
            for neighbour in neighbours:
                neighbour.kill()
        result = json.loads(done.stdout.splitlines()[-1])
        row = {
            "budget": budget,
            "busy": options.busy,
            "wall": round(wall, 1),
            "off": round(wall / seconds(budget) - 1, 3),
        }
        print(
            json.dumps({**row, **{key: result[key] for key in ("parameters", "steps", "tokens", "validation")}}),
            flush=True,
        )


if __name__ == "__main__":
    main()
