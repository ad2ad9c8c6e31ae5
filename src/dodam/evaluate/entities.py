"""How well entities are found: of entities as wholes, as seqeval counts them, and of characters, as KLUE does.

In come texts with the entities that are true and those that were given; out come rows as in every report.json, and
report.md with the mistakes. N texts, L labels.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dodam import files
from dodam.data.entities import Entity
from dodam.evaluate.classification import (
    FORMAT,
    MISTAKES,
    SHOWN,
    Statistic,
    cell,
    interval,
    macro_f1,
    micro_f1,
    precision_recall_f1,
    table_of_labels,
    table_of_rows,
)
from dodam.evaluate.score import RESAMPLES
from dodam.versions import versions


@dataclass(frozen=True)
class Measured:
    """Texts with what is true of them, what was given, and how sure each of these is."""

    labels: tuple[str, ...]
    texts: Sequence[str]
    truth: Sequence[Sequence[Entity]]
    given: Sequence[Sequence[Entity]]
    sure: Sequence[Sequence[float]]

    @property
    def n(self) -> int:
        return len(self.texts)

    @cached_property
    def entities_N3L(self) -> np.ndarray:
        """Of each text and label how many entities were given rightly, were given, and are true. Right is one with the
        same ends and label (seqeval's strict mode)."""
        found = np.zeros((self.n, 3, len(self.labels)), dtype=np.int64)
        numbers = {label: number for number, label in enumerate(self.labels)}
        for text, (truth, given) in enumerate(zip(self.truth, self.given, strict=True)):
            for kind, side in enumerate((set(truth) & set(given), given, truth)):
                for entity in side:
                    found[text, kind, numbers[entity.label]] += 1
        return found

    @cached_property
    def characters_N3L(self) -> np.ndarray:
        """The same of characters and their tags but O, B- and I- of each label: [N, 3, 2 L]."""
        found = np.zeros((self.n, 3, 2 * len(self.labels)), dtype=np.int64)
        numbers = {label: number for number, label in enumerate(self.labels)}
        for text, (truth, given) in enumerate(zip(self.truth, self.given, strict=True)):
            true, told = (set(tagged(side, numbers)) for side in (truth, given))
            for kind, side in enumerate((true & told, told, true)):
                for _, tag in side:
                    found[text, kind, tag] += 1
        return found


def tagged(entities: Sequence[Entity], numbers: dict[str, int]) -> Iterator[tuple[int, int]]:
    """Each character inside an entity and its tag: 2 label where one begins, 2 label + 1 where it goes on."""
    for start, end, label in entities:
        for place in range(start, end):
            yield place, 2 * numbers[label] + (place > start)


def measures(measured: Measured) -> dict[str, Statistic]:
    """What is measured over all texts, by name."""
    entities, characters = measured.entities_N3L, measured.characters_N3L

    def share(kind: int, picks: np.ndarray) -> float:
        right, whole = entities[picks].sum((0, 2))[[0, kind]]
        return float(right / max(1, whole))

    return {
        "micro-f1": lambda picks: micro_f1(*entities[picks].sum(0)),
        "macro-f1": lambda picks: macro_f1(*entities[picks].sum(0)),
        "precision": lambda picks: share(1, picks),
        "recall": lambda picks: share(2, picks),
        "character-macro-f1": lambda picks: macro_f1(*characters[picks].sum(0)),
    }


def rows_of(measured: Measured, model: str, task: str, seed: int, seconds: float) -> list[dict[str, Any]]:
    """One row a measure, and one for the F1 of every label, called TASK:LABEL, whose n is how many are true."""
    everything, found = np.arange(measured.n), []
    for metric, statistic in measures(measured).items():
        low, high = interval(statistic, measured.n, seed)
        ends = {"value": statistic(everything), "low": low, "high": high, "n": measured.n}
        found.append({"model": model, "task": task, "metric": metric, **ends, "seconds": round(seconds, 2)})
    rng, counts = np.random.default_rng(seed), measured.entities_N3L
    resampled = [
        precision_recall_f1(*counts[rng.integers(0, measured.n, measured.n)].sum(0))[2] for _ in range(RESAMPLES)
    ]
    lows, highs = np.percentile(resampled, [2.5, 97.5], axis=0)
    values, true_L = precision_recall_f1(*counts.sum(0))[2], counts.sum(0)[2]
    for number, label in enumerate(measured.labels):
        ends = {"value": float(values[number]), "low": float(lows[number]), "high": float(highs[number])}
        row = {"model": model, "task": f"{task}:{label}", "metric": "f1", **ends, "n": int(true_L[number])}
        found.append({**row, "seconds": round(seconds, 2)})
    return found


def mistakes(measured: Measured) -> list[dict[str, Any]]:
    """The entities that were given and are none, the most confident first, each with what is true there."""
    found: list[dict[str, Any]] = []
    for text, truth, given, sure in zip(measured.texts, measured.truth, measured.given, measured.sure, strict=True):
        for entity, confidence in zip(given, sure, strict=True):
            if entity in truth:
                continue
            near = [one for one in truth if one.start < entity.end and entity.start < one.end]
            shown = {"text": around(text, entity), "truth": listed(text, near), "given": listed(text, [entity])}
            found.append({**shown, "sure": confidence})
    return sorted(found, key=lambda one: -one["sure"])[:MISTAKES]


def around(text: str, entity: Entity) -> str:
    """A text, of a long one what stands around an entity."""
    first = max(0, min(entity.start - SHOWN // 2, len(text) - SHOWN))
    part = text[first : first + SHOWN]
    return "... " * (first > 0) + part + " ..." * (first + SHOWN < len(text))


def listed(text: str, entities: Sequence[Entity]) -> str:
    return ", ".join(f"{text[one.start : one.end]} {one.label}" for one in entities)


def write(out: Path, measured: Measured, *, model: str, task: str, seed: int, began: float) -> dict[str, Any]:
    """Write report.json and report.md into `out`; returns what report.json holds. `began`: the `time.perf_counter()` at
    which the texts began to be read."""
    rows = rows_of(measured, model, task, seed, time.perf_counter() - began)
    report = {"format": FORMAT, "rows": rows, "decoding": {}, "versions": versions(), "seed": seed}
    files.write_atomic(out / "report.md", markdown(measured, rows))
    files.write_json(out / "report.json", report)
    return report


def markdown(measured: Measured, rows: Sequence[dict[str, Any]]) -> str:
    """The measures, the table of labels and the most confident mistakes."""
    overall, by_label = ([row for row in rows if (row["metric"] == "f1") == of_label] for of_label in (False, True))
    scores_3L = precision_recall_f1(*measured.entities_N3L.sum(0))
    lines = [f"# {cell(overall[0]['model'])}: {measured.n} texts held back", "", *table_of_rows(overall), ""]
    lines += [*table_of_labels(measured.labels, scores_3L, by_label), ""]
    lines += ["An entity is right when both ends and the label are. Intervals: the bootstrap over texts.", ""]
    lines += ["## The most confident mistakes", ""]
    if not (wrong := mistakes(measured)):
        return "\n".join([*lines, "There are none.", ""])
    lines += ["| text | is there | was given | confidence |", "|---|---|---|---|"]
    for one in wrong:
        lines.append(f"| {cell(one['text'])} | {cell(one['truth'])} | {cell(one['given'])} | {one['sure']:.4f} |")
    return "\n".join([*lines, ""])
