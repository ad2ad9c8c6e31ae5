"""Reward models on real rankings: full rankings against best-and-worst, length alone, and the model's own likelihood.

    python bench/rankings.py NAME [NAME ...] --data DIR --model MODEL --out DIR [--losses ...] [FLAGS OF dodam reward]

NAME is alpaca_eval_ranked, logickor_ranked, hh_rlhf_harmless or square, a folder below --data. Each is written as
rankings into OUT/NAME and a reward model is trained for each loss: a fifth of the prompts is held back, or with
--folds N each of N parts in turn, for which N models are trained. Of logickor_ranked, which has few questions, one
for each question left out (--questions N does the first N), each learning from --answers N of the up to 65 answers,
evenly from the best to the worst; what was measured, on all of them, is put together. Prints a JSON line
for each scorer and a table of accuracies on held-back pairs with the bootstrap's 95% intervals over prompts, and of the
difference between losses, prompt by prompt. Started again, what is done is kept.
"""

import argparse
import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from dodam import cli
from dodam.errors import UsageError
from dodam.evaluate.score import bootstrap

LOSSES = ("bradley-terry", "plackett-luce", "best-and-worst")
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", choices=sorted(READERS))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--losses", nargs="+", choices=LOSSES, default=list(LOSSES))
    parser.add_argument("--folds", type=int, help="parts of the prompts that are held back in turn")
    parser.add_argument("--questions", type=int, help="of logickor_ranked, so many are left out in turn")
    parser.add_argument("--also", nargs="*", default=[], help="rankings that every model learns from too")
    parser.add_argument("--answers", type=int, default=65, help="to each question of logickor_ranked to learn from")
    options, flags = parser.parse_known_args()
    for name in options.names:
        parts = write(name, options.data / name, options.out / name, options)
        found: dict[str, dict[str, float]] = {}
        for loss in options.losses:
            for rankings, dev in parts:
                run = dev.parent / f"{dev.stem}-{loss}"
                train([str(rankings), *options.also], dev, run, loss, options.model, flags)
                for scorer, right in accuracies(run).items():
                    mine = loss if scorer == run.name else scorer.split(" (")[0]
                    found.setdefault(mine, {}).update({f"{dev}: {where}": value for where, value in right.items()})
        tell(name, found, options.losses)


def alpaca(rows: list[Row]) -> Iterator[tuple[str, Row]]:
    """Eight answers to each instruction, with the probability of beating another model."""
    for number, row in enumerate(rows):
        answers = [{"text": one["answer"], "score": one["win_prob_vs_gpt4_turbo"]} for one in row["answers"]]
        yield str(number), {"prompt": row["instruction"], "answers": answers}


def logickor(rows: list[Row]) -> Iterator[tuple[str, Row]]:
    """Up to 65 answers to each question, scored from 0 to 10. A second question follows another answer of each model,
    so it is asked together with the first one here."""
    for row in rows:
        prompt = "\n\n".join(row["questions"][: row["turn"]])
        answers = [{"text": one["answer"], "score": one["score"]} for one in row["answers"] if one["answer"].strip()]
        yield str(row["id"]), {"prompt": prompt, "answers": answers, "task": row["category"]}


def harmless(rows: list[Row]) -> Iterator[tuple[str, Row]]:
    """Pairs of whole dialogues."""
    for number, row in enumerate(rows):
        yield str(number), row


def square(rows: list[Row]) -> Iterator[tuple[str, Row]]:
    """Acceptable answers and others; questions with one kind only say nothing."""
    for number, row in enumerate(rows):
        answers = [{"text": one["response"], "score": one["acceptable?"]} for one in row["responses"]]
        if len({one["score"] for one in answers}) > 1:
            yield str(number), {"prompt": row["question"], "answers": answers}


READERS = {
    "alpaca_eval_ranked": alpaca,
    "logickor_ranked": logickor,
    "hh_rlhf_harmless": harmless,
    "square": square,
}


def write(name: str, source: Path, out: Path, options: argparse.Namespace) -> list[tuple[Path, Path]]:
    """Files to learn from and to measure on: of a fifth of the prompts, each fold, or each question of logickor."""
    files = sorted(source.glob("*.jsonl*"))
    if not files:
        raise UsageError("holds no rows", where=str(source), mend="Name the folder above it: --data DIR.")
    rows = [json.loads(line) for file in files for line in lines(file)]
    keyed = list(READERS[name](rows))
    keys = list(dict.fromkeys(key for key, _ in keyed))
    if name == "logickor_ranked":
        parts = [{key} for key in keys[: options.questions]]
    else:
        drawn = np.array_split(np.random.default_rng(0).permutation(len(keys)), options.folds or 5)
        parts = [{keys[place] for place in mine} for mine in drawn[: options.folds or 1]]
    out.mkdir(parents=True, exist_ok=True)
    found = []
    for number, part in enumerate(parts):
        paths = out / f"learned-{number}.jsonl", out / f"held-{number}.jsonl"
        for path, held_back in zip(paths, (False, True), strict=True):
            mine = [
                row if held_back else fewer(row, options.answers) for key, row in keyed if (key in part) == held_back
            ]
            path.write_text("".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in mine), encoding="utf-8")
        found.append(paths)
    return found


def fewer(row: Row, number: int) -> Row:
    """So many of the row's answers, evenly from the best to the worst."""
    if len(row.get("answers", ())) <= number:
        return row
    ranked = sorted(row["answers"], key=lambda one: -one["score"])
    places = np.linspace(0, len(ranked) - 1, number).round().astype(int)
    return row | {"answers": [ranked[place] for place in places]}


def lines(file: Path) -> Iterator[str]:
    with gzip.open(file, "rt", encoding="utf-8") if file.suffix == ".gz" else file.open(encoding="utf-8") as opened:
        yield from (line for line in opened if line.strip())


def train(rankings: list[str], dev: Path, run: Path, loss: str, model: str, flags: list[str]) -> None:
    """One reward model; rows that cannot be used are left out and counted."""
    words = ["reward", "--data", *rankings, "--dev", str(dev), "--model", model, "--loss", loss, "--skip-bad"]
    if cli.main([*words, "--out", str(run), *flags]):
        sys.exit(1)


def accuracies(run: Path) -> dict[str, dict[str, float]]:
    """Of each scorer the share of right pairs of each held-back prompt."""
    found: dict[str, dict[str, float]] = {}
    for line in (run / "held-back.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        for scorer, value in row["accuracy"].items():
            found.setdefault(scorer, {})[row["where"]] = value
    return found


def tell(name: str, found: dict[str, dict[str, float]], losses: list[str]) -> None:
    """A JSON line and a line of a table for each scorer, and for how far the first loss is above the others."""
    rows = []
    for scorer, right in found.items():
        rows.append(measured(name, scorer, np.array(list(right.values()))))
    first = found[losses[0]]
    for scorer, right in found.items():
        if scorer != losses[0]:
            rows.append(
                measured(name, f"{losses[0]} above {scorer}", np.array([first[key] - right[key] for key in first]))
            )
    for row in rows:
        print(json.dumps(row))
    print(f"\n| {name} | accuracy | 95% interval | prompts |\n|---|---|---|---|")
    for row in rows:
        print(f"| {row['scorer']} | {row['value']:+.4f} | {row['low']:+.4f} to {row['high']:+.4f} | {row['n']} |")


def measured(name: str, scorer: str, values: np.ndarray) -> Row:
    low, high = bootstrap(values, np.ones(len(values)), 0)
    return {"data": name, "scorer": scorer, "value": float(values.mean()), "low": low, "high": high, "n": len(values)}


if __name__ == "__main__":
    main()
