"""Whether `--budget` is kept: wall time of whole `dodam pretrain` processes, on a quiet and on a busy machine.

    python bench/budget.py DATA TOKENIZER [--budget 3m] [--busy 1] [--depth 4 and other flags of pretrain]

`--busy N` runs N endless loops beside it. Prints wall seconds, the share they are off, the share of the time that went
by between steps (validations, texts, checkpoints), what was expected at the end and what was measured, in bits per
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
    options, flags = parser.parse_known_args()
    for budget in options.budget:
        neighbours = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(options.busy)]
        try:
            with tempfile.TemporaryDirectory() as folder:
                words = ["--data", options.data, "--tokenizer", options.tokenizer, "--context", options.context]
                words += ["--budget", budget, "--out", f"{folder}/run", "--json", *flags]
                start = time.perf_counter()
                done = subprocess.run(
                    [sys.executable, "-m", "dodam", "pretrain", *words], capture_output=True, text=True, check=True
                )
                wall = time.perf_counter() - start
        finally:
            for neighbour in neighbours:
                neighbour.kill()
        result = json.loads(done.stdout.splitlines()[-1])
        told = done.stderr.split(" here: ")[1].splitlines()[0]
        expected = done.stderr.split("expected at the end: ")[1].split(" bits")[0]
        row = {"budget": budget, "busy": options.busy, "wall": round(wall, 1)}
        row |= {"off": round(wall / seconds(budget) - 1, 3), "told": told, "expected": expected}
        row |= {"between_steps": round(result["seconds_between_steps"] / seconds(budget), 4)}
        row |= {key: result[key] for key in ("parameters", "steps", "tokens", "compiled", "validation")}
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
