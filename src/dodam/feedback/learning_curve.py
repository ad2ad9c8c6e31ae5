"""How many more rankings a reward model needs: from held-back accuracies at several sizes, or, without any, how many it
takes to measure that accuracy at all.

The rule: error = floor + b / sqrt(rankings), fitted by least squares. Twice as many rankings then gain (1 -
1/sqrt(2)) b / sqrt(rankings); enough is where that is less than one point. It is an extrapolation: it holds for these
prompts, this model and this way to train, and two sizes leave nothing to check it with.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

WORTH = 0.01  # accuracy that twice as many rankings must gain
MARGIN = 0.05  # half the width of the interval in which accuracy is to be known
HELD_BACK = 0.1  # share of prompts


@dataclass(frozen=True)
class Point:
    """A reward run: rankings (prompts) learned from, accuracy on those held back, and how many these were."""

    rankings: int
    accuracy: float
    held_back: int


@dataclass(frozen=True)
class Curve:
    """error = floor + slope / sqrt(rankings), and what follows: where it is enough, and how many are missing there."""

    floor: float
    slope: float
    enough: int
    more: int
    points: tuple[Point, ...]

    @property
    def flat(self) -> bool:
        """Whether more rankings did not help: then the curve tells of no number."""
        return self.slope <= 0


def fit(points: Sequence[Point], rankings: int) -> Curve | None:
    """The curve through runs, and how many more than `rankings` are worth having. None for fewer than two sizes. Runs
    weigh as the number of prompts that measured them."""
    if len({point.rankings for point in points}) < 2:
        return None
    sizes = np.array([1 / math.sqrt(point.rankings) for point in points])
    errors = np.array([1 - point.accuracy for point in points])
    weights = np.sqrt([point.held_back for point in points])
    columns = np.stack([np.ones(len(points)), sizes], 1)
    floor, slope = np.linalg.lstsq(columns * weights[:, None], errors * weights, rcond=None)[0]
    enough = math.ceil(((1 - math.sqrt(0.5)) * max(slope, 0.0) / WORTH) ** 2)
    return Curve(float(floor), float(slope), enough, max(0, enough - rankings), tuple(points))


def to_measure() -> int:
    """The rankings it takes to know a held-back accuracy to +-5 points (95%, at worst, one pair a prompt) when a
    tenth is held back."""
    return math.ceil(0.25 * (1.959964 / MARGIN) ** 2 / HELD_BACK)
