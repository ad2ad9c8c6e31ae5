"""How good a classifier is, and how sure that is: measures, pictures and mistakes of texts whose labels are known.

In come what is true and what a model gives (probabilities [N, L], or numbers [N]); out come rows as in every
report.json, and report.md with its pictures. N texts, L labels.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dodam import files
from dodam.evaluate.report import ascii_label
from dodam.evaluate.score import RESAMPLES, wilson
from dodam.versions import versions

FORMAT = 1
BINS = 15  # of confidence, of equal width
MISTAKES = 20
SHOWN = 200  # characters of a text among the mistakes
LARGEST_PICTURE = 40  # labels; larger matrices cannot be read

Kind = Literal["single", "multilabel", "regression"]
Statistic = Callable[[np.ndarray], float]
"""A measure of the texts picked, by their numbers."""


@dataclass(frozen=True)
class Measured:
    """Texts with what is true of them and what was given. `truth`: the labels' numbers [N], whether each label holds
    [N, L], or numbers [N]; `given`: probabilities [N, L], or numbers [N]."""

    kind: Kind
    labels: tuple[str, ...]
    texts: Sequence[str]
    truth: np.ndarray
    given: np.ndarray

    @property
    def n(self) -> int:
        return len(self.truth)

    @property
    def chosen(self) -> np.ndarray:
        """The likeliest label's number [N], or which labels are given [N, L]."""
        return self.given >= 0.5 if self.kind == "multilabel" else self.given.argmax(1)

    @property
    def confidence(self) -> np.ndarray:
        """The probability of the label that was chosen, [N]."""
        return self.given.max(1)


def confusion(truth_N: np.ndarray, chosen_N: np.ndarray, num_labels: int) -> np.ndarray:
    """[L, L]: how many texts of label i were given label j."""
    return np.bincount(truth_N * num_labels + chosen_N, minlength=num_labels**2).reshape(num_labels, num_labels)


def precision_recall_f1(right_L: np.ndarray, given_L: np.ndarray, true_L: np.ndarray) -> np.ndarray:
    """[3, L] from counts of each label; 0 where nothing was given, or where there is none."""
    right = right_L.astype(float)
    return np.stack(
        [right / np.maximum(given_L, 1), right / np.maximum(true_L, 1), 2 * right / np.maximum(given_L + true_L, 1)]
    )


def counts(measured: Measured, picks: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each label how often it was given rightly, given, and true, [L] each."""
    picks = np.arange(measured.n) if picks is None else picks
    truth, chosen = measured.truth[picks], measured.chosen[picks]
    if measured.kind == "multilabel":
        return (truth.astype(bool) & chosen).sum(0), chosen.sum(0), truth.astype(bool).sum(0)
    matrix = confusion(truth, chosen, len(measured.labels))
    return np.diag(matrix), matrix.sum(0), matrix.sum(1)


def macro_f1(right_L: np.ndarray, given_L: np.ndarray, true_L: np.ndarray) -> float:
    """The mean F1 of the labels that are true or given somewhere."""
    there = (given_L + true_L) > 0
    return float(precision_recall_f1(right_L, given_L, true_L)[2][there].mean()) if there.any() else 0.0


def micro_f1(right_L: np.ndarray, given_L: np.ndarray, true_L: np.ndarray) -> float:
    """F1 of all labels counted together."""
    return float(2 * right_L.sum() / max(1, given_L.sum() + true_L.sum()))


def bins_of(confidence_N: np.ndarray) -> np.ndarray:
    """The bin of each confidence, [N]."""
    return np.minimum((confidence_N * BINS).astype(int), BINS - 1)


def calibration_error(confidence_N: np.ndarray, right_N: np.ndarray) -> float:
    """Expected calibration error: how far confidence and accuracy lie apart, the mean over texts of that within their
    bins (Guo et al. 2017, eq. 3)."""
    gaps = np.bincount(bins_of(confidence_N), weights=right_N - confidence_N, minlength=BINS)
    return float(np.abs(gaps).sum() / len(confidence_N))


def ranks(values_N: np.ndarray) -> np.ndarray:
    """The place of each value among them, equal ones at the mean of theirs."""
    _, inverse, repeats = np.unique(values_N, return_inverse=True, return_counts=True)
    ends = np.cumsum(repeats)
    return (ends - (repeats - 1) / 2)[inverse]


def correlation(one_N: np.ndarray, two_N: np.ndarray) -> float:
    """Pearson's; 0 where one side does not vary."""
    one, two = one_N - one_N.mean(), two_N - two_N.mean()
    size = float(np.sqrt((one**2).sum() * (two**2).sum()))
    return float((one * two).sum() / size) if size else 0.0


def interval(statistic: Statistic, n: int, seed: int) -> tuple[float, float]:
    """The 95% interval of a measure over resampled texts (Efron 1979, percentiles)."""
    rng = np.random.default_rng(seed)
    low, high = np.percentile([statistic(rng.integers(0, n, n)) for _ in range(RESAMPLES)], [2.5, 97.5])
    return float(low), float(high)


def measures(measured: Measured) -> dict[str, Statistic]:
    """What is measured over all texts, by name."""
    if measured.kind == "regression":
        truth, given = measured.truth, measured.given
        return {
            "pearson": lambda picks: correlation(truth[picks], given[picks]),
            "spearman": lambda picks: correlation(ranks(truth[picks]), ranks(given[picks])),
            "mse": lambda picks: float(((truth[picks] - given[picks]) ** 2).mean()),
        }
    f1s: dict[str, Statistic] = {"macro-f1": lambda picks: macro_f1(*counts(measured, picks))}
    if measured.kind == "multilabel":
        return {"micro-f1": lambda picks: micro_f1(*counts(measured, picks)), **f1s}
    right, confidence = (measured.chosen == measured.truth).astype(float), measured.confidence
    return {
        "accuracy": lambda picks: float(right[picks].mean()),
        **f1s,
        "ece": lambda picks: calibration_error(confidence[picks], right[picks]),
    }


def rows_of(measured: Measured, model: str, task: str, seed: int, seconds: float) -> list[dict[str, Any]]:
    """One row a measure, and one for the F1 of every label, called TASK:LABEL."""
    everything = np.arange(measured.n)

    def row(task: str, metric: str, statistic: Statistic, n: int) -> dict[str, Any]:
        value = statistic(everything)
        ends = wilson(value, n) if metric == "accuracy" else interval(statistic, measured.n, seed)
        where = {"model": model, "task": task, "metric": metric, "value": value, "low": ends[0], "high": ends[1]}
        return {**where, "n": n, "seconds": round(seconds, 2)}

    found = [row(task, metric, statistic, measured.n) for metric, statistic in measures(measured).items()]
    if measured.kind == "regression":
        return found
    _, _, true_L = counts(measured)
    f1s = label_f1s(measured, seed)
    for number, label in enumerate(measured.labels):
        value, low, high = f1s[:, number]
        where = {"model": model, "task": f"{task}:{label}", "metric": "f1", "value": float(value), "low": float(low)}
        found.append({**where, "high": float(high), "n": int(true_L[number]), "seconds": round(seconds, 2)})
    return found


def label_f1s(measured: Measured, seed: int) -> np.ndarray:
    """[3, L]: the F1 of each label and the ends of its 95% interval, all labels of the same resampled texts."""
    rng, n = np.random.default_rng(seed), measured.n
    resampled = [precision_recall_f1(*counts(measured, rng.integers(0, n, n)))[2] for _ in range(RESAMPLES)]
    ends = np.percentile(resampled, [2.5, 97.5], axis=0)
    return np.concatenate([precision_recall_f1(*counts(measured))[2][None], ends])


def mistakes(measured: Measured) -> list[dict[str, Any]]:
    """The texts that were told wrong, the most confident (of numbers the furthest off) first."""
    if measured.kind == "regression":
        sure = np.abs(measured.truth - measured.given)
        truth, given = [f"{value:g}" for value in measured.truth], [f"{value:.3f}" for value in measured.given]
        wrong = np.ones(measured.n, dtype=bool)
    elif measured.kind == "multilabel":
        chosen = measured.chosen
        wrong = (chosen != measured.truth.astype(bool)).any(1)
        sure = np.where(chosen != measured.truth.astype(bool), np.maximum(measured.given, 1 - measured.given), 0).max(1)
        truth, given = [names(measured, row) for row in measured.truth], [names(measured, row) for row in chosen]
    else:
        wrong, sure = measured.chosen != measured.truth, measured.confidence
        truth, given = ([measured.labels[number] for number in side] for side in (measured.truth, measured.chosen))
    order = [index for index in np.argsort(-sure, kind="stable") if wrong[index]][:MISTAKES]
    return [
        {"text": measured.texts[index], "truth": truth[index], "given": given[index], "sure": float(sure[index])}
        for index in order
    ]


def names(measured: Measured, holds_L: np.ndarray) -> str:
    return ", ".join(label for label, holds in zip(measured.labels, holds_L, strict=True) if holds)


def write(out: Path, measured: Measured, *, model: str, task: str, seed: int, began: float) -> dict[str, Any]:
    """Write report.json, report.md and the pictures into `out`; returns what report.json holds. `began`: the
    `time.perf_counter()` at which the texts began to be read."""
    rows = rows_of(measured, model, task, seed, time.perf_counter() - began)
    report = {"format": FORMAT, "rows": rows, "decoding": {}, "versions": versions(), "seed": seed}
    pictures = []
    if measured.kind == "single":
        draw_calibration(measured, out / "calibration.png")
        pictures = ["calibration.png"]
        if len(measured.labels) <= LARGEST_PICTURE:
            draw_confusion(measured, out / "confusion.png")
            pictures = ["confusion.png", *pictures]
    files.write_atomic(out / "report.md", markdown(measured, report, pictures))
    files.write_json(out / "report.json", report)
    return report


def markdown(measured: Measured, report: dict[str, Any], pictures: Sequence[str]) -> str:
    """The measures, the table of labels, the pictures and the most confident mistakes."""
    overall = [row for row in report["rows"] if row["metric"] != "f1"]
    lines = [f"# {cell(overall[0]['model'])}: {measured.n} texts held back", "", *table_of_rows(overall)]
    if measured.kind != "regression":
        by_label = [row for row in report["rows"] if row["metric"] == "f1"]
        lines += ["", *table_of_labels(measured.labels, precision_recall_f1(*counts(measured)), by_label)]
    lines += ["", "Intervals: Wilson's for accuracy, the bootstrap over texts for the rest.", ""]
    lines += [line for picture in pictures for line in (f"![{picture.removesuffix('.png')}]({picture})", "")]
    worst = "The furthest off" if measured.kind == "regression" else "The most confident mistakes"
    sure = "off by" if measured.kind == "regression" else "confidence"
    if not mistakes(measured):
        return "\n".join([*lines, f"## {worst}", "", "There are none.", ""])
    lines += [f"## {worst}", "", f"| text | is | was given | {sure} |", "|---|---|---|---|"]
    for one in mistakes(measured):
        lines.append(f"| {short(one['text'])} | {cell(one['truth'])} | {cell(one['given'])} | {one['sure']:.4f} |")
    return "\n".join([*lines, ""])


def table_of_rows(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Measures with their intervals, as lines of Markdown."""
    shown = [f"| {r['metric']} | {r['value']:.4f} | {r['low']:.4f}-{r['high']:.4f} | {r['n']} |" for r in rows]
    return ["| metric | value | 95% interval | n |", "|---|---|---|---|", *shown]


def table_of_labels(labels: Sequence[str], scores_3L: np.ndarray, rows: Sequence[dict[str, Any]]) -> list[str]:
    """Precision, recall and F1 of each label, with the interval of its row, as lines of Markdown."""
    lines = ["| | label | precision | recall | F1 | 95% interval | n |", "|---|---|---|---|---|---|---|"]
    for number, (label, row) in enumerate(zip(labels, rows, strict=True)):
        values = " | ".join(f"{value:.4f}" for value in scores_3L[:, number])
        lines.append(f"| {number} | {cell(label)} | {values} | {row['low']:.4f}-{row['high']:.4f} | {row['n']} |")
    return lines


def short(text: str) -> str:
    """A text as a cell, cut where it is long."""
    return cell(text if len(text) <= SHOWN else f"{text[:SHOWN]} ...")


def cell(text: str) -> str:
    """A text inside a table of Markdown: in one line, nothing in it read as a table, a tag or a picture."""
    escaped = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace("\\", "\\\\")
    for sign in "|`*_[]!":
        escaped = escaped.replace(sign, f"\\{sign}")
    return escaped


def draw_confusion(measured: Measured, picture: Path) -> None:
    """What is true down, what was given across; shares of each row as shades, counts as numbers."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    matrix = confusion(measured.truth, measured.chosen, len(measured.labels))
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    plain = all(ascii_label(label) == label for label in measured.labels)  # matplotlib ships no Hangul font
    marks = [label if plain else str(number) for number, label in enumerate(measured.labels)]
    size = max(4.0, 0.55 * len(marks) + 2)
    figure, axis = pyplot.subplots(figsize=(size, size), layout="constrained")
    axis.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    for row, column in np.ndindex(matrix.shape):
        color = "white" if shares[row, column] > 0.5 else "black"
        axis.text(column, row, str(matrix[row, column]), ha="center", va="center", color=color, fontsize=8)
    axis.set_xticks(range(len(marks)), marks, rotation=90 if max(map(len, marks)) > 3 else 0)
    axis.set_yticks(range(len(marks)), marks)
    axis.set_xlabel("given")
    axis.set_ylabel("true")
    figure.savefig(picture, dpi=110)
    pyplot.close(figure)


def draw_calibration(measured: Measured, picture: Path) -> None:
    """For each bin of confidence its accuracy beside the diagonal, and below how many texts it holds."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    right, places = (measured.chosen == measured.truth).astype(float), bins_of(measured.confidence)
    held = np.bincount(places, minlength=BINS)
    there = held > 0
    accuracy = np.bincount(places, weights=right, minlength=BINS)[there] / held[there]
    confidence = np.bincount(places, weights=measured.confidence, minlength=BINS)[there] / held[there]
    figure, (above, below) = pyplot.subplots(
        2, 1, figsize=(5, 6), height_ratios=(3, 1), layout="constrained", sharex=True
    )
    above.plot([0, 1], [0, 1], color="gray", linewidth=0.8)
    above.plot(confidence, accuracy, marker="o")
    above.set_ylabel("accuracy")
    above.set_ylim(0, 1)
    below.bar((np.arange(BINS) + 0.5) / BINS, held, 0.9 / BINS)
    below.set_xlim(0, 1)
    below.set_xlabel("confidence")
    below.set_ylabel("texts")
    figure.savefig(picture, dpi=110)
    pyplot.close(figure)
