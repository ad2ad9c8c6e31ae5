"""Which of two models people prefer: the blind comparison of before and after.

In: rows of a store (`Store.rankings()`), whose answers tell what model they are of. Out: for each two models the share
of prompts on which the first one's answers were preferred, with a 95% interval by bootstrap over prompts.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from dodam.feedback.agreement import Row, Share, share


@dataclass(frozen=True)
class WinRate:
    """How often the first model's answers were ranked above the second's; a tie is half. `ties`: the share of them.
    `prompts`: how many were compared."""

    models: tuple[str, str]
    rate: Share
    ties: float
    prompts: int


def win_rates(rows: Iterable[Row]) -> list[WinRate]:
    """For each two models whose answers were ranked together. Prompts count alike: of each the mean over all who ranked
    it and all pairs of one model's answer and the other's."""
    found: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        models = [(origin or {}).get("model", "") for origin in row.get("origins") or [None] * len(row["answers"])]
        for one, other in combinations(range(len(models)), 2):
            if models[one] == models[other] or not (models[one] and models[other]):
                continue
            first, second = sorted((one, other), key=lambda place: models[place])
            difference = row["ranks"][second] - row["ranks"][first]
            found[models[first], models[second]][repr(row["prompt"])].append(0.5 + 0.5 * np.sign(difference))
    return [rate_of(pair, list(prompts.values())) for pair, prompts in sorted(found.items())]


def rate_of(models: tuple[str, str], prompts: list[list[float]]) -> WinRate:
    """From every prompt's points, 1 where the first model was preferred, 0.5 for a tie."""
    points = [point for mine in prompts for point in mine]
    rate = share([(float(np.mean(mine)), 1.0) for mine in prompts])
    return WinRate(models, rate, float(np.mean([point == 0.5 for point in points])), len(prompts))
