"""A text as a row of units, and a number for every n units that follow one another: what near duplicates and
contamination are found by.

In: texts. Out: 64-bit hashes in numpy arrays, with the places in the text they come from. A unit is one syllable or
character of a script that writes no spaces between words, or is spaced as people like (Hangul, kana, Chinese
characters, Thai, Khmer, Lao, Burmese), and a whole word or number of any other. Capitals, spaces and punctuation do
not count, so `띄어 쓰기` and `띄어쓰기` are equal. The same text gives the same hashes on every machine.
"""

import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

SHINGLE = 5
"""Units in a shingle: five syllables are an eojeol and a half, five words a phrase."""

ALONE = (  # first and last code point of characters that are units by themselves
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x3041, 0x30FF),  # kana
    (0x3131, 0x318E),  # letters of Hangul
    (0x3400, 0x4DBF),  # Chinese characters, and these
    (0x4E00, 0x9FFF),
    (0xAC00, 0xD7A3),  # Hangul
    (0xF900, 0xFAFF),
)
BETWEEN, LETTER, UNIT = 0, 1, 2
BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2^64
INVERSE = pow(BASE, -1, 1 << 64)
KEPT = 1 << 20  # powers that are kept for the next text; those of a longer one are computed anew


class Units(NamedTuple):
    """The units of one text: their hashes, and the characters from `starts` up to `ends` that each stands for."""

    hashes: np.ndarray
    starts: np.ndarray
    ends: np.ndarray


def units(text: str) -> Units:
    """The units of a text, in order."""
    kinds_of, folded = _characters()
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    codes = np.minimum(codes, 0x10000) if len(codes) and codes.max() > 0x10000 else codes  # beyond are no letters
    kinds = kinds_of[codes]
    first = kinds == UNIT
    first[1:] |= (kinds[1:] == LETTER) & (kinds[:-1] != LETTER)
    if len(kinds):
        first[0] = kinds[0] != BETWEEN
    starts = np.flatnonzero(first)
    # A unit ends where the next begins, or at the first character between them.
    stops = np.flatnonzero(np.diff((kinds != BETWEEN).astype(np.int8), append=0) == -1) + 1
    ends = np.append(starts[1:], len(text))[: len(starts)]
    if len(stops):
        ends = np.minimum(ends, stops[np.searchsorted(stops, starts, side="right")])
    return Units(_polynomials(folded[codes], starts, ends), starts, ends)


def windows(hashes: np.ndarray, size: int) -> np.ndarray:
    """A hash for every `size` units in a row: [units - size + 1]; none where there are fewer."""
    starts = np.arange(max(len(hashes) - size + 1, 0))
    return _polynomials(hashes, starts, starts + size)


def shingles(text: str) -> np.ndarray:
    """The set of a text's shingles, sorted. A text of fewer than five units is one shingle, one of none has none."""
    hashes = units(text).hashes
    return np.unique(windows(hashes, min(SHINGLE, len(hashes)))) if len(hashes) else hashes


def jaccard(one: np.ndarray, other: np.ndarray) -> float:
    """Shared shingles as a share of all shingles of two sorted sets; 0 where both are empty."""
    common = len(np.intersect1d(one, other, assume_unique=True))
    return common / max(len(one) + len(other) - common, 1)


def flat(rows: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Rows one behind the other, and the places where they begin and end: [rows + 1]."""
    offsets = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(row) for row in rows], out=offsets[1:])
    return np.concatenate([np.empty(0, np.uint64), *rows]), offsets


def _polynomials(values: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Of each stretch the hash v0 + v1 B + v2 B^2 + ... modulo 2^64, mixed; all of them from one running sum."""
    size = 1 << max(len(values), 1).bit_length()
    powers, inverses = _powers(size) if size <= KEPT else _powers.__wrapped__(size)
    sums = np.zeros(len(values) + 1, np.uint64)
    np.cumsum(values * powers[: len(values)], out=sums[1:])
    return _mixed((sums[ends] - sums[starts]) * inverses[starts])


def _mixed(values: np.ndarray) -> np.ndarray:
    """Every bit of a number depends on every bit of the one before (the end of SplitMix64, Steele et al. 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


@cache
def _powers(size: int) -> tuple[np.ndarray, np.ndarray]:
    """The first powers of BASE and of its inverse."""
    both = []
    for base in (BASE, INVERSE):
        factors = np.full(size, base, np.uint64)
        factors[0] = 1
        both.append(np.cumprod(factors))
    return both[0], both[1]


@cache
def _characters() -> tuple[np.ndarray, np.ndarray]:
    """For every code point up to 0xFFFF, and one entry for all beyond: its kind, and a hash of its small letter."""
    kinds = np.zeros(0x10001, np.int8)
    small = np.arange(0x10001, dtype=np.uint64)
    for code in range(0x10000):
        character = chr(code)
        if unicodedata.category(character)[0] in "LMN":
            kinds[code] = LETTER
            lower = character.lower()
            small[code] = ord(lower) if len(lower) == 1 else code
    for first, last in ALONE:
        held = kinds[first : last + 1]
        held[held == LETTER] = UNIT
    return kinds, _mixed(small + np.uint64(1))
