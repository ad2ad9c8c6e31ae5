"""How well scores agree with people about answers: accuracy on pairs of held-back prompts, and how sure that is.

In come prompts with rankings and, of each scorer, a number for every answer; out come rows as in every report.json,
report.md, a picture of the calibration, and held-back.jsonl with the numbers themselves. A answers, P prompts, N pairs.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dodam import files
from dodam.data.judged import Judged
from dodam.evaluate.classification import (
    Measured,
    Statistic,
    calibration_error,
    cell,
    correlation,
    draw_calibration,
    interval,
    short,
)
from dodam.evaluate.score import bootstrap
from dodam.versions import versions

FORMAT = 1
MISTAKES = 12
TASK = "held-back"

Scores = Sequence[np.ndarray]
"""Of each prompt the scores of its answers, [A]."""


def accuracies(prompts: Sequence[Judged], scores: Scores) -> np.ndarray:
    """[P]: of each prompt's pairs the share whose better answer has the higher score; equal scores are half right."""
    found = []
    for one, scores_A in zip(prompts, scores, strict=True):
        better, worse = np.array([(pair.better, pair.worse) for pair in one.pairs()]).T
        right_N = np.sign(scores_A[better] - scores_A[worse]) / 2 + 0.5
        found.append(right_N.mean())
    return np.array(found)


def differences(prompts: Sequence[Judged], scores: Scores) -> tuple[np.ndarray, np.ndarray]:
    """[N]: by how much the better answer of every pair is above the worse one, and which prompt the pair is of."""
    found, owners = [], []
    for place, (one, scores_A) in enumerate(zip(prompts, scores, strict=True)):
        for pair in one.pairs():
            found.append(scores_A[pair.better] - scores_A[pair.worse])
            owners.append(place)
    return np.array(found), np.array(owners)


def lengths(prompts: Sequence[Judged]) -> list[np.ndarray]:
    """The characters of every answer."""
    return [np.array([float(len(answer)) for answer in one.answers]) for one in prompts]


def length_sign(prompts: Sequence[Judged]) -> float:
    """1 where the longer answers were mostly preferred, prompt by prompt, else -1: all that a baseline learns that
    looks at nothing but length."""
    return 1.0 if not prompts or accuracies(prompts, lengths(prompts)).mean() >= 0.5 else -1.0


def length_correlation(prompts: Sequence[Judged], scores: Scores) -> Statistic:
    """Pearson's correlation of scores with the logarithm of lengths, both less their mean of the prompt."""
    sizes = [np.log1p(size_A) for size_A in lengths(prompts)]
    sides = [[values_A - values_A.mean() for values_A in side] for side in (sizes, scores)]

    def of(picks: np.ndarray) -> float:
        one, two = (np.concatenate([side[place] for place in picks]) for side in sides)
        return correlation(one, two)

    return of


def calibration(prompts: Sequence[Judged], scores: Scores, seed: int) -> Measured:
    """Every pair in a drawn order, and the probability sigmoid(first - second) that the first is the better one."""
    wider_N, _ = differences(prompts, scores)
    turned_N = np.random.default_rng(seed).random(len(wider_N)) < 0.5
    first_N = 1 / (1 + np.exp(np.where(turned_N, wider_N, -wider_N)))
    given_N2 = np.stack([first_N, 1 - first_N], 1)
    return Measured("single", ("first", "second"), [""] * len(wider_N), turned_N.astype(int), given_N2)


def row(model: str, metric: str, value: float, ends: tuple[float, float], n: int, task: str = TASK) -> dict[str, Any]:
    """One row of report.json."""
    measured = {"task": task, "metric": metric, "value": value, "low": ends[0], "high": ends[1]}
    return {"model": model, **measured, "n": n, "seconds": 0.0}


def accuracy_rows(model: str, prompts: Sequence[Judged], scores: Scores, seed: int) -> list[dict[str, Any]]:
    """The accuracy over all prompts, its interval by resampling prompts."""
    right_P = accuracies(prompts, scores)
    ends = bootstrap(right_P, np.ones(len(right_P)), seed)
    return [row(model, "accuracy", float(right_P.mean()), ends, len(right_P))]


def task_rows(model: str, prompts: Sequence[Judged], scores: Scores, seed: int) -> list[dict[str, Any]]:
    """The accuracy in each kind of task, where rows tell it and there are several."""
    tasks = sorted({one.task for one in prompts})
    found = []
    for task in tasks if len(tasks) > 1 else []:
        picked = [place for place, one in enumerate(prompts) if one.task == task]
        right_P = accuracies([prompts[place] for place in picked], [scores[place] for place in picked])
        ends = bootstrap(right_P, np.ones(len(right_P)), seed)
        found.append(row(model, "accuracy", float(right_P.mean()), ends, len(right_P), f"{TASK}:{task or 'other'}"))
    return found


def own_rows(model: str, prompts: Sequence[Judged], scores: Scores, seed: int) -> list[dict[str, Any]]:
    """What is told of a reward model beside its accuracy: how far sigmoid(difference) is from how often it is right,
    and how its scores go with length. Intervals over prompts."""
    pairs = calibration(prompts, scores, seed)
    _, owners_N = differences(prompts, scores)
    mine = [np.flatnonzero(owners_N == place) for place in range(len(prompts))]
    confidence_N, right_N = pairs.confidence, (pairs.chosen == pairs.truth).astype(float)

    def error(picks: np.ndarray) -> float:
        pairs = np.concatenate([mine[place] for place in picks])
        return calibration_error(confidence_N[pairs], right_N[pairs])

    measures: dict[str, Statistic] = {"ece": error, "length-correlation": length_correlation(prompts, scores)}
    everything, n = np.arange(len(prompts)), len(prompts)
    return [row(model, name, of(everything), interval(of, n, seed), n) for name, of in measures.items()]


def spread_rows(model: str, spreads: Scores, seed: int) -> list[dict[str, Any]]:
    """How far an ensemble's members are apart: the standard deviation of an answer's scores, the mean over a prompt's
    answers, then over prompts."""
    values_P = np.array([spread_A.mean() for spread_A in spreads])
    ends = bootstrap(values_P, np.ones(len(values_P)), seed)
    return [row(model, "spread", float(values_P.mean()), ends, len(values_P))]


def likelihood_rows(model: str, prompts: Sequence[Judged], means: Scores, seed: int) -> list[dict[str, Any]]:
    """The log-probability a token of preferred answers and of others, each the mean over a prompt's pairs, then over
    prompts."""
    found = []
    for metric, better in (("preferred-logprob", True), ("other-logprob", False)):
        values = []
        for one, means_A in zip(prompts, means, strict=True):
            values.append(np.mean([means_A[pair.better if better else pair.worse] for pair in one.pairs()]))
        values_P = np.array(values, dtype=np.float64)
        ends = bootstrap(values_P, np.ones(len(values_P)), seed)
        found.append(row(model, metric, float(values_P.mean()), ends, len(values_P)))
    return found


@dataclass(frozen=True)
class Mistake:
    """A pair that was told wrong, and by how much."""

    prompt: str
    better: str
    worse: str
    gap: float


def mistakes(prompts: Sequence[Judged], scores: Scores) -> list[Mistake]:
    """The pairs whose worse answer is furthest above the better one, one a prompt."""
    found = []
    for one, scores_A in zip(prompts, scores, strict=True):
        gap, pair = max((scores_A[pair.worse] - scores_A[pair.better], pair) for pair in one.pairs())
        if gap > 0:
            texts = (one.prompt[-1]["content"], one.answers[pair.better], one.answers[pair.worse])
            found.append(Mistake(*texts, float(gap)))
    return sorted(found, key=lambda one: -one.gap)[:MISTAKES]


def write_numbers(path: Path, prompts: Sequence[Judged], scorers: Mapping[str, Scores]) -> None:
    """A line of JSON for each held-back prompt: where it was read, its rankings, and what each scorer gave its answers
    and how many of its pairs it has right."""
    right = {name: accuracies(prompts, scores) for name, scores in scorers.items()}
    lines = []
    for place, one in enumerate(prompts):
        told = {name: [round(float(value), 6) for value in scores[place]] for name, scores in scorers.items()}
        rankings = [{"answers": one.numbers(ranking), "ranks": list(ranking.ranks)} for ranking in one.rankings]
        shares = {name: float(values[place]) for name, values in right.items()}
        about = {"where": one.where, "task": one.task, "rankings": rankings, "scores": told, "accuracy": shares}
        lines.append(json.dumps(about, ensure_ascii=False) + "\n")
    files.write_atomic(path, "".join(lines))


def write_report(
    out: Path,
    rows: list[dict[str, Any]],
    prompts: Sequence[Judged],
    scores: Scores,
    *,
    title: str,
    seed: int,
    more: Sequence[str] = (),
) -> dict[str, Any]:
    """Write report.json, report.md and calibration.png; returns what report.json holds. `scores` are those whose
    mistakes and calibration are shown; `more` are further lines of report.md."""
    report = {"format": FORMAT, "rows": rows, "decoding": {}, "versions": versions(), "seed": seed}
    draw_calibration(calibration(prompts, scores, seed), out / "calibration.png")
    files.write_atomic(out / "report.md", markdown(report, title, prompts, scores, more))
    files.write_json(out / "report.json", report)
    return report


def shown(row: dict[str, Any]) -> str:
    """A value and its interval, two cells of a table."""
    return f"{row['value']:.4f} | {row['low']:.4f} to {row['high']:.4f}"


def markdown(report: dict[str, Any], title: str, prompts: Sequence[Judged], scores: Scores, more: Sequence[str]) -> str:
    """Who is right how often, what else was measured, the calibration and the worst mistakes of what was trained."""
    rows = report["rows"]
    num_pairs = sum(len(one.pairs()) for one in prompts)
    lines = [f"# {cell(title)}: {len(prompts)} prompts held back, {num_pairs} pairs", ""]
    lines += ["| scorer | accuracy | 95% interval |", "|---|---|---|"]
    for one in rows:
        if one["metric"] == "accuracy" and one["task"] == TASK:
            lines.append(f"| {cell(one['model'])} | {shown(one)} |")
    lines += ["", "| scorer | metric | value | 95% interval |", "|---|---|---|---|"]
    others = [one for one in rows if one["metric"] != "accuracy"]
    lines += [f"| {cell(one['model'])} | {one['metric']} | {shown(one)} |" for one in others]
    by_task = [one for one in rows if one["task"] != TASK]
    if by_task:
        lines += ["", "| task | accuracy | 95% interval | n |", "|---|---|---|---|"]
        lines += [f"| {cell(one['task'])} | {shown(one)} | {one['n']} |" for one in by_task]
    lines += ["", "Accuracy: the share of a prompt's pairs that are told right, averaged over prompts. Intervals: the"]
    lines += ["bootstrap over prompts.", "", "![calibration](calibration.png)", "", *more]
    lines += ["## The worst mistakes", ""]
    found = mistakes(prompts, scores)
    if not found:
        return "\n".join([*lines, "There are none.", ""])
    lines += ["| prompt | people prefer | it prefers | by |", "|---|---|---|---|"]
    lines += [f"| {short(one.prompt)} | {short(one.better)} | {short(one.worse)} | {one.gap:.3f} |" for one in found]
    return "\n".join([*lines, ""])
