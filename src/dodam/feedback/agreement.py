"""How far to trust rankings: agreement between annotators, position bias, speed.

In: rows of a store (`Store.rankings()`). Out: numbers, shares with 95% intervals by bootstrap over prompts or rankings.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import Any

import numpy as np

Row = dict[str, Any]
Ranks = list[tuple[str, list[float]]]
"""Who ranked some answers, and the rank of each."""

RESAMPLES = 1_000
SEED = 1
SIGNIFICANT, DRAWS = 0.05, 4000  # of a position bias: the chance it is called one below, simulations that tell it
OUTLIER = 3.5  # modified z-score (Iglewicz & Hoaglin 1993)
FEWEST = 8  # rankings of which outliers can be told


@dataclass(frozen=True)
class Share:
    """A share with its 95% interval, and of how many it is."""

    value: float
    low: float
    high: float
    n: int


def alpha(groups: Sequence[Sequence[Sequence[float]]]) -> float | None:
    """Krippendorff's alpha for ordinal values (2011, section D). Each group is a list of units, each unit the values
    that several people gave to it. Groups differ in their scale (ranks among two, among three ...): the observed and
    the expected disagreement are summed over them. None where nothing was judged twice, or nothing could disagree."""
    observed = expected = 0.0
    for units in groups:
        units = [unit for unit in units if len(unit) > 1]
        scale = sorted({value for unit in units for value in unit})
        place = {value: number for number, value in enumerate(scale)}
        together = np.zeros((len(scale), len(scale)))
        for unit in units:
            counts = np.zeros(len(scale))
            for value in unit:
                counts[place[value]] += 1
            together += (np.outer(counts, counts) - np.diag(counts)) / (len(unit) - 1)
        counts = together.sum(1)
        if not len(scale) or counts.sum() <= 1:
            continue
        before = np.cumsum(counts) - counts / 2  # the middle of each value among all that were given
        distances = (before[:, None] - before[None, :]) ** 2
        observed += float((together * distances).sum())
        expected += float((np.outer(counts, counts) * distances).sum() / (counts.sum() - 1))
    return None if expected == 0 else 1 - observed / expected


def once(row: Row) -> Row:
    """The ranking as it was seen: what several models said alike is one answer, with one rank and one place."""
    texts: dict[str, int] = {}
    for place, text in enumerate(row["answers"]):
        texts.setdefault(text, place)
    first = list(texts.values())
    seen = row | {"answers": list(texts), "ranks": [row["ranks"][place] for place in first]}
    if "shown" in row:
        order = sorted(row["shown"][place] for place in first)
        seen["shown"] = [order.index(row["shown"][place]) for place in first]
    return seen


def together(rows: Iterable[Row]) -> dict[tuple[str, tuple[str, ...]], Ranks]:
    """For each prompt and set of answers who ranked them and how, where at least two did: ranks in the order of the
    answers' texts, ties at the mean of the ranks they share. Those who are not known are left out."""
    found: dict[tuple[str, tuple[str, ...]], dict[str, list[float]]] = defaultdict(dict)
    for row in map(once, rows):
        order = sorted(range(len(row["answers"])), key=lambda place: row["answers"][place])
        answers = tuple(row["answers"][place] for place in order)
        if row["annotator"]:
            ranks = mid_ranks([row["ranks"][place] for place in order])
            found[repr(row["prompt"]), answers][row["annotator"]] = ranks
    return {key: sorted(ranks.items()) for key, ranks in found.items() if len(ranks) > 1}


def mid_ranks(ranks: Sequence[int]) -> list[float]:
    """1, 2, 2 -> 1, 2.5, 2.5: as many ranks as answers, so that their sum does not depend on ties."""
    return [sum(other < rank for other in ranks) + (sum(other == rank for other in ranks) + 1) / 2 for rank in ranks]


def ranking_alpha(judged: Iterable[Ranks]) -> float | None:
    """Alpha over answers as units, grouped by how many were ranked together."""
    groups: dict[int, list[list[float]]] = defaultdict(list)
    for ranks in judged:
        for values in zip(*(values for _, values in ranks), strict=True):
            groups[len(ranks[0][1])].append(list(values))
    return alpha(list(groups.values()))


def pairwise(judged: Iterable[Ranks]) -> dict[tuple[str, str], Share]:
    """For each two annotators the share of pairs of answers that both put in the same order; pairs that either of them
    ties are left out. Of prompts that have such pairs, each resampled whole."""
    found: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for ranks in judged:
        for (one, mine), (two, theirs) in combinations(ranks, 2):
            signs = [
                np.sign(mine[a] - mine[b]) * np.sign(theirs[a] - theirs[b])
                for a, b in combinations(range(len(mine)), 2)
            ]
            same, ordered = sum(sign > 0 for sign in signs), sum(sign != 0 for sign in signs)
            if ordered:
                found[one, two].append((same, ordered))
    return {pair: share(counts) for pair, counts in sorted(found.items())}


def share(counts: Sequence[tuple[float, float]]) -> Share:
    """Sum of the first over sum of the second, resampled over entries; n is the latter sum."""
    parts = np.asarray(counts, dtype=float)
    low, high = bootstrap(parts[:, 0], parts[:, 1])
    return Share(float(parts[:, 0].sum() / parts[:, 1].sum()), low, high, round(parts[:, 1].sum()))


def bootstrap(sums: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """The 95% interval of sum(sums) / sum(weights) over resampled entries (Efron 1979, percentiles)."""
    picks = np.random.default_rng(SEED).integers(0, len(sums), (RESAMPLES, len(sums)))
    low, high = np.percentile(sums[picks].sum(1) / weights[picks].sum(1), [2.5, 97.5])
    return float(low), float(high)


@dataclass(frozen=True)
class PositionBias:
    """How often what stood first was ranked first, how often by chance, and the difference with its interval. `luck`:
    the chance of a difference as large or larger where places say nothing."""

    share: float
    chance: float
    difference: Share
    luck: float

    @property
    def biased(self) -> bool:
        return self.luck < SIGNIFICANT


def position_bias(rows: Iterable[Row]) -> PositionBias | None:
    """Of rankings that say where answers stood and do not tie all of them. Several at rank 1 share one point."""
    first, chance, tops = [], [], []
    for row in map(once, rows):
        if "shown" not in row or max(row["ranks"]) == 1:
            continue
        ranks = row["ranks"]
        first.append((ranks[row["shown"].index(0)] == 1) / ranks.count(1))
        chance.append(1 / len(ranks))
        tops.append(ranks.count(1))
    if not first:
        return None
    found, expected = np.asarray(first, dtype=float), np.asarray(chance)
    low, high = bootstrap(found - expected, np.ones(len(found)))
    difference = Share(float((found - expected).mean()), low, high, len(found))
    # Where places say nothing, one of the c best of k answers stands first with probability c / k, and is worth 1 / c.
    worth, drawn = 1 / np.asarray(tops), np.random.default_rng(0).random((DRAWS, len(found)))
    by_luck = ((drawn < expected / worth) * worth - expected).mean(1)
    as_large = np.abs(by_luck) >= abs(difference.value) - 1e-12
    luck = float((1 + as_large.sum()) / (1 + DRAWS))
    return PositionBias(float(found.mean()), float(expected.mean()), difference, luck)


@dataclass(frozen=True)
class Outlier:
    """A ranking far faster or slower than usual: its id, annotator, seconds, and modified z-score."""

    id: str
    annotator: str
    seconds: float
    score: float


def speed_outliers(rows: Iterable[Row]) -> list[Outlier]:
    """By the logarithm of seconds per character that was to be read. None of fewer than 8 rankings, or where more
    than half are alike to the last digit."""
    timed = [row for row in rows if row["seconds"]]
    speeds = [math.log(row["seconds"] / max(1, characters(row))) for row in timed]
    if len(speeds) < FEWEST:
        return []
    middle = median(speeds)
    spread = median(abs(speed - middle) for speed in speeds)
    if spread == 0:
        return []
    found = []
    for row, speed in zip(timed, speeds, strict=True):
        score = 0.6745 * (speed - middle) / spread
        if abs(score) > OUTLIER:
            found.append(Outlier(row["id"], row["annotator"], row["seconds"], score))
    return found


def characters(row: Row) -> int:
    """What an annotator has to read."""
    return sum(len(message["content"]) for message in row["prompt"]) + sum(map(len, set(row["answers"])))
