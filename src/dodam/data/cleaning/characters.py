"""Kinds of characters in a text, counted in numpy: letters, Hangul, Latin, white space.

In: a text. Out: a kind for every character, as cleaning steps count them.
"""

from functools import cache

import numpy as np

OTHER, SPACE, LETTER, LATIN, HANGUL = range(5)
"""LETTER is any letter that is neither Latin (A to Z) nor Hangul; digits and signs are OTHER."""
LAST = 0x34000  # no letter lies beyond


def kinds(text: str) -> np.ndarray:
    """The kind of every character: [characters], int8."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    return _table()[np.minimum(codes, LAST)]


@cache
def _table() -> np.ndarray:
    """The kind of every code point up to LAST: str.isalpha and str.isspace, and the ranges of `data/text.py`."""
    table = np.zeros(LAST + 1, np.int8)
    for code in range(LAST):
        character = chr(code)
        table[code] = LETTER if character.isalpha() else SPACE if character.isspace() else OTHER
    for first, last, kind in (("A", "Z", LATIN), ("a", "z", LATIN), ("가", "힣", HANGUL), ("ㄱ", "ㅎ", HANGUL)):
        table[ord(first) : ord(last) + 1] = kind
    table[ord("ㅏ") : ord("ㅣ") + 1] = HANGUL
    return table
