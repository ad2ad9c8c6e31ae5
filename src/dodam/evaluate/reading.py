"""How well questions are answered out of a text: exact match and F1, as SQuAD's and KorQuAD's evaluations define them.

In come the answers that are right and the one that was given; out come scores of 0..1, rows as in every report.json,
and report.md with the mistakes. An empty answer says that there is none.
"""

import re
import string
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dodam import files
from dodam.evaluate.classification import FORMAT, MISTAKES, cell, short, table_of_rows
from dodam.evaluate.score import bootstrap, wilson
from dodam.versions import versions

PUNCTUATION = str.maketrans("", "", string.punctuation)
ARTICLES = re.compile(r"\b(a|an|the)\b")
QUOTES = {ord(sign): " " for sign in "'\"《》<>〈〉()‘’"}  # what KorQuAD takes for a space


def squad_form(text: str) -> str:
    """Lower case, no punctuation, no English articles, single spaces (Rajpurkar et al. 2016, section 6.1)."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def korquad_form(text: str) -> str:
    """Quotation marks and brackets as spaces, lower case, no other punctuation, single spaces (Lim et al. 2019)."""
    return " ".join(text.translate(QUOTES).lower().translate(PUNCTUATION).split())


def overlap_f1(given: Iterable[str], true: Iterable[str]) -> float:
    """F1 of two bags of words or characters; of two empty ones 1."""
    one, two = Counter(given), Counter(true)
    if not one or not two:
        return float(one == two)
    return 2 * (one & two).total() / (one.total() + two.total())


def exact(given: str, true: str) -> float:
    return float(squad_form(given) == squad_form(true))


def f1(given: str, true: str) -> float:
    """Of words."""
    return overlap_f1(squad_form(given).split(), squad_form(true).split())


def korquad_exact(given: str, true: str) -> float:
    return float(korquad_form(given) == korquad_form(true))


def korquad_f1(given: str, true: str) -> float:
    """Of characters, spaces left out: a particle too much costs one character and not the word."""
    return overlap_f1(korquad_form(given).replace(" ", ""), korquad_form(true).replace(" ", ""))


METRICS: dict[str, Callable[[str, str], float]] = {
    "exact": exact,
    "f1": f1,
    "korquad-exact": korquad_exact,
    "korquad-f1": korquad_f1,
}


def score(metric: Callable[[str, str], float], given: str, truth: Sequence[str]) -> float:
    """Against the answer it does best against; where there is none, 1 for saying so and 0 for anything else."""
    if not truth or not given:
        return float(not truth and not given)
    return max(metric(given, true) for true in truth)


@dataclass(frozen=True)
class Measured:
    """Questions with the answers that are right (none: there is none), the one that was given, and how sure that is."""

    questions: Sequence[str]
    truth: Sequence[Sequence[str]]
    given: Sequence[str]
    sure: Sequence[float]

    def scores(self, metric: str) -> np.ndarray:
        """Of each question."""
        pairs = zip(self.given, self.truth, strict=True)
        return np.array([score(METRICS[metric], given, truth) for given, truth in pairs])


def rows_of(measured: Measured, model: str, task: str, seed: int, seconds: float) -> list[dict[str, Any]]:
    """One row a measure; where some questions have no answer, further ones of both kinds alone."""
    answerable = np.array([bool(truth) for truth in measured.truth])
    parts = {task: np.ones(len(answerable), dtype=bool)}
    if not answerable.all():
        parts |= {f"{task}:answerable": answerable, f"{task}:unanswerable": ~answerable}
    found = []
    for name, picks in parts.items():
        for metric in METRICS if picks.any() else ():
            scores = measured.scores(metric)[picks]
            n, value = len(scores), float(scores.mean())
            low, high = wilson(value, n) if metric.endswith("exact") else bootstrap(scores, np.ones(n), seed)
            row = {"model": model, "task": name, "metric": metric, "value": value, "low": low, "high": high, "n": n}
            found.append({**row, "seconds": round(seconds, 2)})
    return found


def mistakes(measured: Measured) -> list[dict[str, Any]]:
    """The answers without any right character, and none where there is one or one where there is none, the most
    confident first."""
    wrong = np.flatnonzero(measured.scores("korquad-f1") == 0)
    order = sorted(wrong.tolist(), key=lambda index: -measured.sure[index])[:MISTAKES]
    return [
        {
            "question": measured.questions[index],
            "truth": " / ".join(dict.fromkeys(measured.truth[index])),
            "given": measured.given[index],
            "sure": measured.sure[index],
        }
        for index in order
    ]


def write(out: Path, measured: Measured, *, model: str, task: str, seed: int, began: float) -> dict[str, Any]:
    """Write report.json and report.md into `out`; returns what report.json holds. `began`: the `time.perf_counter()` at
    which the questions began to be read."""
    rows = rows_of(measured, model, task, seed, time.perf_counter() - began)
    report = {"format": FORMAT, "rows": rows, "decoding": {}, "versions": versions(), "seed": seed}
    files.write_atomic(out / "report.md", markdown(measured, rows))
    files.write_json(out / "report.json", report)
    return report


def markdown(measured: Measured, rows: Sequence[dict[str, Any]]) -> str:
    """The measures, of each kind of question, and the most confident mistakes."""
    lines = [f"# {cell(rows[0]['model'])}: {len(measured.questions)} questions held back", ""]
    for task in dict.fromkeys(row["task"] for row in rows):
        title = [] if task == rows[0]["task"] else [f"## {cell(task.rpartition(':')[2])}", ""]
        lines += [*title, *table_of_rows([row for row in rows if row["task"] == task]), ""]
    lines += ["Intervals: Wilson's for exact match, the bootstrap over questions for F1.", ""]
    lines += ["## The most confident mistakes", ""]
    if not (wrong := mistakes(measured)):
        return "\n".join([*lines, "There are none.", ""])
    lines += ["| question | is | was given | confidence |", "|---|---|---|---|"]
    for one in wrong:
        cells = " | ".join(short(one[key]) for key in ("question", "truth", "given"))
        lines.append(f"| {cells} | {one['sure']:.4f} |")
    return "\n".join([*lines, ""])
