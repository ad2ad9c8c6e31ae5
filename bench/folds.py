"""`dodam classify`, k times over the same rows, each row measured once by a model that has not read it.

    python bench/folds.py DATA... --out DIR [--folds 5] [--columns label=1 text=2] [FLAGS OF dodam classify]

Rows are read as `dodam classify` reads them; folds are cut by a hash of the text, so that equal texts are in one fold.
Each fold's files and run are in DIR/fold-N; started again, what is done is kept. Prints a JSON line for each fold, and
one for all rows together: accuracy with Wilson's interval, macro-F1 with the bootstrap's over texts.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from dodam import files
from dodam.data.labels import Example, Labels, labels_of, read_examples, read_labels
from dodam.errors import DodamError, UsageError
from dodam.evaluate.classification import confusion, interval, macro_f1
from dodam.evaluate.score import wilson

SOURCE = Path(__file__).resolve().parent.parent / "src"


def fold_of(example: Example, folds: int) -> int:
    """The fold a text belongs to; another hash than that of `data.labels.split`, so that either cut is free of the
    other."""
    return xxhash.xxh3_64_intdigest(f"fold\x1e{example.key}".encode("utf-8", "surrogatepass")) % folds


def cut(examples: Sequence[Example], folds: int) -> list[tuple[list[Example], list[Example]]]:
    """(learned, held back) of every fold. UsageError when one of them would be empty."""
    places = [fold_of(example, folds) for example in examples]
    found = []
    for number in range(folds):
        held_back = [example for example, place in zip(examples, places, strict=True) if place == number]
        learned = [example for example, place in zip(examples, places, strict=True) if place != number]
        if not held_back or not learned:
            raise UsageError(f"fold {number} of {len(examples)} rows is empty", where="--folds", mend="Ask for fewer.")
        found.append((learned, held_back))
    return found


def scored(truth_N: np.ndarray, chosen_N: np.ndarray, num_labels: int, seed: int = 0) -> dict[str, Any]:
    """Accuracy and macro-F1 of labels' numbers, each with its 95% interval, in fractions."""

    def f1(picks: np.ndarray) -> float:
        matrix = confusion(truth_N[picks], chosen_N[picks], num_labels)
        return macro_f1(np.diag(matrix), matrix.sum(0), matrix.sum(1))

    n = len(truth_N)
    accuracy = float((truth_N == chosen_N).mean())
    return {
        "n": n,
        "accuracy": round(accuracy, 4),
        "accuracy_interval": [round(end, 4) for end in wilson(accuracy, n)],
        "macro_f1": round(f1(np.arange(n)), 4),
        "macro_f1_interval": [round(end, 4) for end in interval(f1, n, seed)],
    }


def numbers(examples: Sequence[Example], labels: Labels) -> np.ndarray:
    """The number of each row's label, int64 [N]."""
    known = {name: number for number, name in enumerate(labels.names)}
    return np.array([known[str(example.label)] for example in examples], dtype=np.int64)


def reading_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that say how rows are read, called as those of `dodam classify`."""
    parser.add_argument("data", nargs="+")
    parser.add_argument("--task", choices=("single", "pair"), default="single")
    parser.add_argument("--columns", nargs="+", default=[], metavar="ROLE=NAME")
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--encoding", default="utf-8")


def read(options: argparse.Namespace, data: Sequence[str], labels: Labels | None = None) -> list[Example]:
    """The rows that the flags name."""
    if labels is None and options.labels:
        labels = read_labels(options.labels, options.encoding)
    columns = dict(column.split("=", 1) for column in options.columns)
    return read_examples(data, options.task, columns=columns, labels=labels, encoding=options.encoding)


def all_labels(options: argparse.Namespace, examples: Sequence[Example]) -> Labels:
    return read_labels(options.labels, options.encoding) if options.labels else labels_of(examples)


def write_rows(path: Path, examples: Sequence[Example]) -> None:
    """Rows as JSONL that every command of ours reads without being told its columns."""
    rows = [{"text": one.text, "text2": one.text2, "label": one.label} for one in examples]
    kept = [{name: value for name, value in row.items() if value is not None} for row in rows]
    files.write_atomic(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept))


def write_names(path: Path, names: Sequence[str]) -> None:
    """A file for `--labels`, so that every fold has all labels, in the same order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([name] for name in names)


def dodam(words: Sequence[str]) -> None:
    """Run a command of ours in a process of its own; what it says goes to standard error."""
    paths = os.pathsep.join(filter(None, (str(SOURCE), os.environ.get("PYTHONPATH", ""))))
    command = [sys.executable, "-m", "dodam", *words]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, stdout=sys.stderr, check=True)


def measure(folder: Path, learned: Sequence[Example], held_back: Sequence[Example], words: Sequence[str]) -> list[str]:
    """Train on one part and return the label the model gives each row of the other."""
    folder.mkdir(parents=True, exist_ok=True)
    train, dev, given = folder / "train.jsonl", folder / "dev.jsonl", folder / "given.jsonl"
    for path, part in ((train, learned), (dev, held_back)):
        write_rows(path, part)
    run = str(folder / "run")
    dodam(["classify", "--data", str(train), "--dev", str(dev), "--out", run, *words])
    dodam(["predict", run, "--input", str(dev), "--output", str(given)])
    return [json.loads(line)["label"] for line in given.read_text(encoding="utf-8").splitlines()]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    reading_flags(parser)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--folds", type=int, default=5)
    options, passed_on = parser.parse_known_args(arguments)
    examples = read(options, options.data)
    labels = all_labels(options, examples)
    write_names(options.out / "labels.txt", labels.names)
    words = ["--task", options.task, "--labels", str(options.out / "labels.txt"), *passed_on]
    truths, chosens = [], []
    for number, (learned, held_back) in enumerate(cut(examples, options.folds)):
        given = measure(options.out / f"fold-{number}", learned, held_back, words)
        truths.append(numbers(held_back, labels))
        chosens.append(np.array([labels.number(name) for name in given], dtype=np.int64))
        print(json.dumps({"fold": number, **scored(truths[-1], chosens[-1], len(labels.names))}), flush=True)
    whole = scored(np.concatenate(truths), np.concatenate(chosens), len(labels.names))
    print(json.dumps({"fold": "all", "data": options.data, **whole, "flags": passed_on}))


if __name__ == "__main__":
    try:
        main()
    except DodamError as error:
        sys.exit(f"folds: {error}")
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
