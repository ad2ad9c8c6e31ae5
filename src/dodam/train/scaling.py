"""How low a decoder's loss will be: bits per byte of held-back text, by the weights in its blocks and what it reads.

The rule (Hoffmann et al. 2022, equation 2) was fitted on small runs of ours by `bench/scaling.py`; docs/scaling.md has
the runs, and how well it told others. It says which of some sizes is best and about where a curve will end, not more.
"""

import bz2
import math
from collections.abc import Sequence
from itertools import pairwise

FLOOR = 0.55  # what no model gets below: the 1.69 nats a token of Hoffmann et al., in bits per byte
SIZE, TEXT, EXPONENT = 3.38, 18.9, 0.22
REPEATED = 15.4  # passes after which another one is worth 1/e of the first (Muennighoff et al. 2023, equation 5)
PACKED = 2.05  # bits per byte that bz2 makes of a sample of the text that the rule was fitted on
OFF = 0.15  # runs on other text ended up to 11% away from what was told (docs/scaling.md)
# How many times the last bits per byte a curve stands at, after which share of its run: the middle of our runs.
FALL = (
    (0.0, 2.5), (0.1, 1.39), (0.2, 1.23), (0.3, 1.15), (0.4, 1.11), (0.5, 1.08), (0.6, 1.05), (0.7, 1.035),
    (0.8, 1.02), (0.9, 1.006), (1.0, 1.0),
)  # fmt: skip


def worth(text: float, corpus: float) -> float:
    """What so many bytes, read out of a smaller corpus in several passes, are worth in bytes never read before."""
    if text <= corpus:
        return text
    return corpus * (1 + REPEATED * (1 - math.exp(-(text / corpus - 1) / REPEATED)))


def bits_per_byte(weights: float, text: float, corpus: float = math.inf, hardness: float = 1.0) -> float:
    """At the end of a run. weights: parameters inside the blocks. text: bytes read, in all passes over `corpus` bytes.
    hardness: how much harder to tell the text is than that of the rule (`hardness`)."""
    return hardness * (FLOOR + SIZE * weights**-EXPONENT + TEXT * worth(text, corpus) ** -EXPONENT)


def hardness(sample: bytes) -> float:
    """How hard some text, a megabyte or so, is to tell: as hard as it is to pack, 1 for the text of the rule."""
    return 8 * len(bz2.compress(sample)) / max(1, len(sample)) / PACKED


def expected(last: float, share: float) -> tuple[float, float]:
    """Between which two bits per byte a curve that is to end at `last` should stand after a share of the run."""
    middle = last * interpolated(FALL, share)
    return middle * (1 - OFF), middle * (1 + OFF)


def interpolated(points: Sequence[tuple[float, float]], place: float) -> float:
    """The value at a place between points, along straight lines."""
    for (left, low), (right, high) in pairwise(points):
        if place <= right:
            return low + (high - low) * max(0.0, place - left) / (right - left)
    return points[-1][1]
