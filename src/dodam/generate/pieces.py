"""Tokens and the characters they stand for, and the windows in which long texts are read.

In come texts as they are; out come their ids, each with its place in the text. A character belongs to the first token
that holds any of it: byte-level tokens may hold a part of one, the space before a word, or a name and its particle.
"""

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from dodam.generate.classifier import Encoded
from dodam.tokenizer.tokenizer import Tokenizer

HALF = re.compile("[\ud800-\udfff]")  # of a surrogate pair: no UTF-8 can hold it
OVERLAP = 3  # windows share a third of what they hold


@dataclass(frozen=True)
class Pieces:
    """The tokens of a text, and of each the characters [start, end) it stands for, no white space at either end. Tokens
    for which nothing is left (white space, further bytes of a character) have start = end."""

    text: str
    ids: list[int]
    starts: list[int]
    ends: list[int]

    def stands(self, place: int) -> bool:
        """Whether a token stands for anything."""
        return self.starts[place] < self.ends[place]

    def end(self, place: int, tails: Sequence[str]) -> int:
        """Where a span ends that has a token as its last: at the token's end, less the longest of `tails` that it ends
        with and does not consist of."""
        start, end = self.starts[place], self.ends[place]
        return end - max((len(tail) for tail in tails if self.text.endswith(tail, start + 1, end)), default=0)


@dataclass(frozen=True)
class Window:
    """A row that holds the tokens [first, last) of text number `text`; the first of them stands at `begin`."""

    row: Encoded
    text: int
    first: int
    last: int
    begin: int


def pieces_of(tokenizer: Tokenizer, texts: Sequence[str]) -> Iterator[Pieces]:
    """The tokens of each text, nothing added; half surrogates count as the characters that stand in for them."""
    plain = [HALF.sub("\N{REPLACEMENT CHARACTER}", text) for text in texts]
    encoded = tokenizer.raw.encode_batch(plain, add_special_tokens=False)
    for text, one in zip(plain, encoded, strict=True):
        starts, ends = places(text, one.offsets)
        yield Pieces(text, one.ids, starts, ends)


def places(text: str, offsets: Sequence[tuple[int, int]]) -> tuple[list[int], list[int]]:
    """Start and end of each token from the characters it touches. What no token touches (a combining mark that was
    composed with the letter before it) goes with the token before it."""
    starts, ends, covered = [], [], 0
    nexts = [*(start for start, _ in offsets), len(text)][1:]
    for (start, end), following in zip(offsets, nexts, strict=True):
        start, end = max(start, covered), max(end, following, covered)
        covered = end
        while start < end and text[start].isspace():
            start += 1
        while start < end and text[end - 1].isspace():
            end -= 1
        starts.append(start)
        ends.append(end)
    return starts, ends


def tails_of(spans: Iterable[tuple[Pieces, int]]) -> tuple[str, ...]:
    """What tokens hold after the end of a span more often than not: Korean particles, mostly. In come pieces and the
    character after each span's last; of the tokens these are in, a tail is one that is cut off oftener than it ends a
    token with which a span ends."""
    cut: Counter[str] = Counter()
    kept: Counter[str] = Counter()
    for pieces, end in spans:
        last = bisect_left(pieces.ends, end)
        if last == len(pieces.ends) or pieces.starts[last] >= end:
            continue
        if pieces.ends[last] > end:
            cut[pieces.text[end : pieces.ends[last]]] += 1
        own = pieces.text[pieces.starts[last] : end]
        kept.update(own[place:] for place in range(1, len(own)))
    return tuple(sorted(tail for tail, count in cut.items() if count > kept[tail]))


def windows(count: int, room: int) -> list[tuple[int, int]]:
    """The tokens [first, last) of each window when `room` of `count` fit into one. All but a single one are full."""
    if count <= room:
        return [(0, count)]
    step = room - room // OVERLAP
    firsts = [*range(0, count - room, step), count - room]
    return [(first, first + room) for first in firsts]


def owned(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The tokens [first, last) of each window that stand no further from an edge there than in its neighbour: cut in
    the middle of what two share, so that every token is of one window."""
    cuts = [(before[1] + after[0]) // 2 for before, after in pairwise(spans)]
    return list(zip([spans[0][0], *cuts], [*cuts, spans[-1][1]], strict=True))
