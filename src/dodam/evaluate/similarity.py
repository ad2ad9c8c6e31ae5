"""How well likeness agrees with people, and finds what means the same: measures of sentence embeddings, a report.

In come texts with human scores, held-back pairs, and models of likeness: vectors, or the baseline that looks at
characters. Out come rows as in every report.json, and report.md. N texts, Q queries, C candidates, D width.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from dodam import files
from dodam.data.triplets import Triplet
from dodam.evaluate.classification import cell, correlation, interval, ranks
from dodam.evaluate.score import bootstrap, wilson
from dodam.versions import versions

FORMAT = 1
MOST = 2_000  # held-back pairs that are looked for
FURTHEST = 8  # pairs of each file that are shown
SHOWN = 120  # characters of a text that are shown
RETRIEVAL = "retrieval"


class Likeness(Protocol):
    """What says how alike texts are."""

    def cosines(self, one: Sequence[str], two: Sequence[str]) -> np.ndarray: ...
    def table(self, queries: Sequence[str], candidates: Sequence[str]) -> np.ndarray: ...


class Vectors:
    """Likeness by the vectors of an embedder, each text computed once. `first` cuts them to their first numbers."""

    def __init__(self, embed: Callable[[Sequence[str]], np.ndarray], first: int | None = None) -> None:
        self.embed, self.first = embed, first
        self.known: dict[str, np.ndarray] = {}

    def cut_to(self, first: int) -> "Vectors":
        """The same vectors, cut; what is known is shared."""
        cut = Vectors(self.embed, first)
        cut.known = self.known
        return cut

    def units(self, texts: Sequence[str]) -> np.ndarray:
        """Directions of texts, [N, D]."""
        new = [text for text in dict.fromkeys(texts) if text not in self.known]
        if new:
            self.known.update(zip(new, self.embed(new), strict=True))
        vectors_ND = np.stack([self.known[text][: self.first] for text in texts]).astype(np.float64)
        return vectors_ND / np.maximum(np.linalg.norm(vectors_ND, axis=1, keepdims=True), 1e-12)

    def cosines(self, one: Sequence[str], two: Sequence[str]) -> np.ndarray:
        return (self.units(one) * self.units(two)).sum(1)

    def table(self, queries: Sequence[str], candidates: Sequence[str]) -> np.ndarray:
        return self.units(queries) @ self.units(candidates).T


@dataclass(frozen=True)
class Scored:
    """Pairs of texts with what people said of their likeness. `name` is the task's in the report."""

    name: str
    one: Sequence[str]
    two: Sequence[str]
    scores_N: np.ndarray

    @property
    def texts(self) -> list[str]:
        return [*self.one, *self.two]


@dataclass(frozen=True)
class Search:
    """Held-back pairs to be found again: of query i the right candidate is number `right_Q[i]`; where `also_QC` is True
    a candidate means the same too, and counts neither for nor against."""

    queries: Sequence[str]
    candidates: Sequence[str]
    right_Q: np.ndarray
    also_QC: np.ndarray

    @classmethod
    def of(cls, triplets: Sequence[Triplet]) -> "Search | None":
        """Of the first pairs; None where there are no two candidates. Texts alone are no pairs."""
        pairs = [one for one in triplets if not one.alone][:MOST]
        texts = [one.positive for one in pairs] + [one.negative for one in pairs if one.negative is not None]
        candidates = list(dict.fromkeys(texts))
        if len(candidates) < 2:
            return None
        number = {text: place for place, text in enumerate(candidates)}
        right_Q = np.array([number[one.positive] for one in pairs])
        same: dict[str, list[int]] = {}
        for one, right in zip(pairs, right_Q, strict=True):
            same.setdefault(one.anchor, [number[one.anchor]] if one.anchor in number else []).append(int(right))
        also_QC = np.zeros((len(pairs), len(candidates)), dtype=bool)
        for row, one in enumerate(pairs):
            also_QC[row, same[one.anchor]] = True
        also_QC[np.arange(len(pairs)), right_Q] = False
        return cls([one.anchor for one in pairs], candidates, right_Q, also_QC)


def places_of(search: Search, table_QC: np.ndarray) -> np.ndarray:
    """At which place each query's right candidate comes, from 1, [Q]; equal ones share the mean of their places."""
    right_Q1 = np.take_along_axis(table_QC, search.right_Q[:, None], 1)
    others_QC = ~search.also_QC
    others_QC[np.arange(len(search.right_Q)), search.right_Q] = False
    before = ((table_QC > right_Q1) & others_QC).sum(1)
    return 1 + before + ((table_QC == right_Q1) & others_QC).sum(1) / 2


def rows_of(
    model: str, likeness: Likeness, scored: Sequence[Scored], search: Search | None, seed: int
) -> list[dict[str, Any]]:
    """What one model does at every task: a row a measure."""
    found = []
    for task in scored:
        began = time.perf_counter()
        given_N = likeness.cosines(task.one, task.two)
        value = correlation(ranks(given_N), ranks(task.scores_N))
        low, high = resampled(given_N, task.scores_N, seed)
        row = {"task": task.name, "metric": "spearman", "value": value, "low": low, "high": high, "n": len(given_N)}
        found.append({"model": model, **row, "seconds": round(time.perf_counter() - began, 2)})
    if search is None:
        return found
    began = time.perf_counter()
    places_Q = places_of(search, likeness.table(search.queries, search.candidates))
    n = len(places_Q)
    measured = []
    for most in (1, 10):
        share = float((places_Q <= most).mean())
        measured.append((f"accuracy@{most}", share, *wilson(share, n)))
    measured.append(("mrr", float((1 / places_Q).mean()), *bootstrap(1 / places_Q, np.ones(n), seed)))
    seconds = round(time.perf_counter() - began, 2)
    for metric, value, low, high in measured:
        row = {"model": model, "task": RETRIEVAL, "metric": metric, "value": value, "low": low, "high": high}
        found.append({**row, "n": n, "seconds": seconds})
    return found


def resampled(given_N: np.ndarray, truth_N: np.ndarray, seed: int) -> tuple[float, float]:
    """The 95% interval of Spearman's correlation."""
    return interval(lambda picks: correlation(ranks(given_N[picks]), ranks(truth_N[picks])), len(given_N), seed)


def write(
    out: Path,
    models: Mapping[str, Likeness],
    scored: Sequence[Scored],
    search: Search | None,
    *,
    seed: int,
    about: dict[str, Any],
) -> dict[str, Any]:
    """Measure all models, the trained one first, and write report.json and report.md; returns the report."""
    rows = [row for name, likeness in models.items() for row in rows_of(name, likeness, scored, search, seed)]
    report = {"format": FORMAT, "rows": rows, "decoding": about, "versions": versions(), "seed": seed}
    own = next(iter(models.values()))
    files.write_atomic(out / "report.md", markdown(report, list(models), own, scored))
    files.write_json(out / "report.json", report)
    return report


def markdown(report: dict[str, Any], models: Sequence[str], own: Likeness, scored: Sequence[Scored]) -> str:
    """Tasks down, models across, each with its interval; then where the first model and people differ most."""
    lines = ["# Report", ""]
    cells = {(row["task"], row["metric"], row["model"]): row for row in report["rows"]}
    tasks = {(row["task"], row["metric"]): row["n"] for row in report["rows"]}
    if tasks:
        lines += [f"| task | metric | n | {' | '.join(map(cell, models))} |", f"|---|---|---|{'---|' * len(models)}"]
    for (task, metric), n in tasks.items():
        found = [cells[task, metric, model] for model in models]
        shown = [f"{row['value']:.4f} ({row['low']:.4f}-{row['high']:.4f})" for row in found]
        lines.append(f"| {cell(task)} | {metric} | {n} | {' | '.join(shown)} |")
    told = "Value with its 95% interval: Wilson's for accuracy, the bootstrap over rows for the rest."
    lines += [*(["", told] if tasks else ["Nothing was measured: no pair was held back, and no --sts was named."]), ""]
    settings = {**report["decoding"], **report["versions"], "seed": report["seed"]}
    lines += [f"- {key}: {value}" for key, value in settings.items()]
    for task in scored:
        lines += ["", f"## {cell(task.name)}: furthest from what people say", ""]
        lines += ["| one | the other | people | cosine |", "|---|---|---|---|"]
        given_N = own.cosines(task.one, task.two)
        gaps_N = np.abs(ranks(given_N) - ranks(task.scores_N))
        for place in np.argsort(-gaps_N, kind="stable")[:FURTHEST]:
            texts = f"{shortened(task.one[place])} | {shortened(task.two[place])}"
            lines.append(f"| {texts} | {task.scores_N[place]:g} | {given_N[place]:.3f} |")
    return "\n".join([*lines, ""])


def shortened(text: str) -> str:
    """A text for a cell of a table, its beginning where it is long."""
    return cell(text if len(text) <= SHOWN else f"{text[:SHOWN]} ...")
