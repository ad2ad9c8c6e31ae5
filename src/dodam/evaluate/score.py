"""Scoring answers by rule, and how sure a figure is.

In come what a model wrote and the right answer; out come a score for each item (0..1, chrF and ROUGE 0..100), and
for a list of them the mean with its 95% interval: Wilson's for shares, the bootstrap over items for everything
else.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal

import numpy as np

NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
MARKED_NUMBER = re.compile(rf"(?:답|Answer)\s*:\s*({NUMBER.pattern})")
RESAMPLES = 1_000

Cut = Callable[[str], list[str]]
"""What a text consists of, for ROUGE."""


def normal(text: str) -> str:
    """NFC, no white space around, one final full stop dropped."""
    return unicodedata.normalize("NFC", text).strip().removesuffix(".").strip()


def exact(given: str, answer: str) -> float:
    """1 when the whole answer is the right one."""
    return float(normal(given) == normal(answer))


def begins(given: str, answer: str) -> float:
    """1 when a completion goes on with the answer. A Latin word or a number must end there ("blue." but not
    "bluebell", "12, 13" but not "12,345"); after Hangul a particle or an ending may follow ("부산입니다")."""
    given, answer = normal(given), normal(answer)
    if not given.startswith(answer):
        return 0.0
    rest, last = given[len(answer) :], answer[-1]
    if last.isdigit():
        return float(not re.match(r"[.,]?\d", rest))
    if not rest or not rest[0].isalnum():
        return 1.0
    return float("가" <= last <= "힣" and "가" <= rest[0] <= "힣")


def number(given: str, answer: str) -> float:
    """1 when the number after the last "답:" or "Answer:", or without such a mark the last number, is the right one."""
    found = MARKED_NUMBER.findall(given) or NUMBER.findall(given)
    return float(bool(found) and decimal(found[-1]) == decimal(normal(answer)))


def decimal(text: str) -> Decimal:
    """The value of a number as `NUMBER` finds it, its thousands perhaps set apart by commas."""
    return Decimal(text.replace(",", ""))


def chrf(given: str, answer: str) -> float:
    """Sentence chrF2 by sacreBLEU (Popović 2015), 0..100."""
    from sacrebleu.metrics.chrf import CHRF

    return CHRF().sentence_score(given, [answer]).score


def units(text: str) -> list[str]:
    """Hangul syllables one by one, other words and numbers whole, lower case. The letter ㆍ (U+318D), which statutes
    write for a middle dot, is a sign like others."""
    return re.findall(r"[가-힣]|[^\W가-힣ㆍ]+", unicodedata.normalize("NFC", text).lower())


def eojeols(text: str) -> list[str]:
    """What stands between spaces, without the signs on either side of it, lower case."""
    words = unicodedata.normalize("NFC", text).lower().split()
    return [word for word in (re.sub(r"^[\W_ㆍ]+|[\W_ㆍ]+$", "", word) for word in words) if word]


def rouge_l(given: str, answer: str, cut: Cut = units) -> float:
    """ROUGE-L F1 (Lin 2004, eq. 2-4), 0..100: the longest common subsequence of what `cut` makes of the texts.
    With `units` a Korean particle does not make a whole word wrong."""
    one, two = cut(given), cut(answer)
    lengths = [0] * (len(two) + 1)
    for unit in one:
        diagonal = 0
        for index, other in enumerate(two, start=1):
            diagonal, lengths[index] = (
                lengths[index],
                diagonal + 1 if unit == other else max(lengths[index], lengths[index - 1]),
            )
    return f1(lengths[-1], len(one), len(two))


def rouge_n(given: str, answer: str, n: int, cut: Cut = units) -> float:
    """ROUGE-N F1 (Lin 2004, eq. 1), 0..100: runs of n units that both have, each as often as both have it. An answer
    shorter than n has no runs and is 0."""
    one, two = (Counter(runs(cut(text), n)) for text in (given, answer))
    return f1((one & two).total(), one.total(), two.total())


def runs(items: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """All runs of n neighbours, in order."""
    return list(zip(*(items[first:] for first in range(n)), strict=False))


def f1(common: int, given: int, answer: int) -> float:
    """The harmonic mean of common / given and common / answer, 0..100; 0 where either side is empty."""
    return 200 * common / (given + answer) if given and answer else 0.0


# metric of an item -> (its name in the report, scoring function, largest value)
METRICS: dict[str, tuple[str, Callable[[str, str], float], float]] = {
    "exact": ("exact", exact, 1.0),
    "number": ("exact", number, 1.0),
    "chrf": ("chrf", chrf, 100.0),
    "rouge": ("rouge-l", rouge_l, 100.0),
}


def interval(scores: Sequence[float], largest: float, seed: int) -> tuple[float, float, float]:
    """Mean, low and high ends of its 95% interval."""
    mean = sum(scores) / len(scores)
    if largest == 1.0:
        return mean, *wilson(mean, len(scores))
    return mean, *bootstrap(np.asarray(scores), np.ones(len(scores)), seed)


def wilson(share: float, n: int) -> tuple[float, float]:
    """The 95% interval of a share of n (Wilson 1927)."""
    z = 1.959964
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def bootstrap(sums: np.ndarray, weights: np.ndarray, seed: int) -> tuple[float, float]:
    """The 95% interval of sum(sums) / sum(weights) over resampled items (Efron 1979, percentiles)."""
    picks = np.random.default_rng(seed).integers(0, len(sums), (RESAMPLES, len(sums)))
    values = sums[picks].sum(1) / weights[picks].sum(1)
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
