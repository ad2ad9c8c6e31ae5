"""Models before and after, on held-back problems of the bundled world and on its other tasks: shared by benches.

In come models and test items; out come rows for each model (which share of the errors is gone, which tasks were lost)
and a table. Commands of ours are run by `dodam`, where the flags of `on_machine` say.
"""

import argparse
import contextlib
import json
import sys
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from dodam import cli, files
from dodam.data.sources import SAMPLE_SEED
from dodam.evaluate.report import shown
from dodam.evaluate.tasks import SAMPLE_TASKS
from dodam.sample import corpus

BEFORE = "before"
PROBLEMS = "problems"

Row = dict[str, Any]


def write_held_back(folder: Path, first: int, n: int, tasks: Sequence[str], limit: int) -> list[Path]:
    """Files of test items: `n` problems from number `first` on (the first thousand are `sample:problems-tests`), and
    the other tasks of `sample:tests`, of each the first `limit`."""
    one, two = folder / f"{PROBLEMS}-{first}-{n}.jsonl", folder / f"others-{limit or 'all'}-{'-'.join(tasks)}.jsonl"
    if not one.exists():
        drawn = corpus.problems_tests(SAMPLE_SEED, first + n)
        write_lines(one, [{**item, "task": PROBLEMS} for item in islice(drawn, first, None)])
    if tasks and not two.exists():
        items: dict[str, list[Row]] = {task: [] for task in tasks}
        for item in corpus.tests(SAMPLE_SEED):
            if item["task"] in items and not (limit and len(items[item["task"]]) == limit):
                items[item["task"]].append(item)
        write_lines(two, [item for task in tasks for item in items[task]])
    return [one, two] if tasks else [one]


def write_lines(path: Path, rows: Sequence[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_atomic(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_lines(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def dodam(*words: str) -> None:
    """Run a command of ours; what it says goes to standard error. Ends with its exit code where that is not 0."""
    with contextlib.redirect_stdout(sys.stderr):
        code = cli.main(list(words))
    if code:
        sys.exit(code)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of measuring: what, how much of it, and where to compute."""
    parser.add_argument("--n", type=int, default=1000, help="held-back problems")
    parser.add_argument("--first", type=int, default=0, help="pass over so many, such as settings were chosen by")
    parser.add_argument("--tasks", nargs="*", default=list(SAMPLE_TASKS), choices=SAMPLE_TASKS, help="measured too")
    parser.add_argument("--limit", type=int, default=0, help="items of each of these tasks; 0 takes all")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", default="auto")


def on_machine(options: argparse.Namespace) -> list[str]:
    """The flags that say where a command computes."""
    return ["--device", options.device, *(["--threads", str(options.threads)] if options.threads else [])]


def compared(rows: Sequence[Row], about: Mapping[str, Row]) -> list[Row]:
    """For each model what is to be said `about` it, its rows of the report, the share of errors on the held-back
    problems that is gone, and the tasks that were lost: those of which its interval lies below the value before."""
    found: dict[str, dict[str, Row]] = {}
    for row in rows:
        found.setdefault(row["model"], {})[row["task"]] = row
    before, told = found[BEFORE], []
    for name, mine in found.items():
        of_run: Row = {"model": name, **about.get(name, {})}
        if name != BEFORE:
            errors = [1 - one[PROBLEMS]["value"] for one in (before, mine)]
            of_run |= {"errors_cut": 1 - errors[1] / errors[0] if errors[0] else None}
            of_run |= {"lost": [task for task, row in mine.items() if row["high"] < before[task]["value"]]}
        kept = ("metric", "value", "low", "high", "n")
        told.append({**of_run, "tasks": {task: {key: row[key] for key in kept} for task, row in mine.items()}})
    return told


def table(told: Sequence[Row], title: str, also: Mapping[str, str]) -> str:
    """Models across, tasks down, the held-back problems first. `also`: more rows, a key of `told` for each name."""
    first, *others = told
    lines = [f"| {title} | {' | '.join(one['model'] for one in told)} |", "|---|" + "---|" * len(told)]
    lines += [f"| {name} | | {' | '.join(str(one[key]) for one in others)} |" for name, key in also.items()]
    for task, row in first["tasks"].items():
        values = " | ".join(shown(one["tasks"][task]) for one in told)
        lines.append(f"| {task}, {row['metric']}, n = {row['n']} | {values} |")
    cut = ["" if one["errors_cut"] is None else f"{one['errors_cut']:.0%}" for one in others]
    lines += [f"| errors gone on {PROBLEMS} | | {' | '.join(cut)} |"]
    lines += ["| lost | | " + " | ".join(", ".join(one["lost"]) or "none" for one in others) + " |"]
    return "\n".join(lines)
