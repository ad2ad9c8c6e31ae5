"""Rows of whole documents, put together by best fit. The only state is one integer: how many rows were taken.

In come token files (shards.TokenFile) with the ends of their documents, out go rows [count, context + 1] in the order
of mixture.py, and which document each of their tokens is of (Ding et al. 2024, "Fewer Truncations Improve Language
Modeling", section 3). A document longer than a row is cut into rows, and its rest is packed. What is left of a row is
padding; nothing is cropped.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from dodam.data.loader import TokenSource, grouped, joined
from dodam.data.mixture import Mixture
from dodam.data.packing import pack
from dodam.errors import DataError


class BorderedSource(TokenSource, Protocol):
    """A token file that knows where each of its documents ends."""

    @property
    def ends(self) -> np.ndarray: ...


@dataclass(frozen=True)
class Pieces:
    """What the rows of a source hold, row by row: where each piece starts in the source's tokens and how many they are,
    [N] each, and where the pieces of each row end [R]."""

    starts: np.ndarray
    lengths: np.ndarray
    row_ends: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """Tokens in each row [R]."""
        return np.diff(np.cumsum(self.lengths)[self.row_ends - 1], prepend=0)

    def of(self, row: int) -> slice:
        """The pieces of a row."""
        return slice(int(self.row_ends[row - 1]) if row else 0, int(self.row_ends[row]))


class BestFitLoader(Mixture):
    """All rows of several sources, mixed by weight, each document whole in one row where it fits into one.

    `ahead` is 1 where each next token is predicted: the last token of a full row is then only ever predicted, and the
    rows of a document that is cut share one. It is 0 where all that is read is all there is to learn from. DataError
    where there is no text."""

    def __init__(self, sources: Sequence[BorderedSource], context: int, pad: int, seed: int, *, ahead: int = 1) -> None:
        self.capacity, self.pad = context + ahead, pad
        groups = grouped([source for source in sources if len(source.tokens)], context)
        if not groups:
            raise DataError("there is no text to read", mend="Add text, or give a source a weight above 0.")
        self.tokens = [joined(group).tokens for group in groups]
        ends = [joined_ends(group) for group in groups]
        self.pieces = [pieces(one, self.capacity, ahead) for one in ends]
        self.num_documents = sum(map(len, ends))
        self.num_cut = sum(int((np.diff(one, prepend=0) > self.capacity).sum()) for one in ends)
        first = [group[0] for group in groups]  # all of a group have its weight and its limit
        super().__init__(first, [len(one.row_ends) for one in self.pieces], context, seed)

    @cached_property
    def padded(self) -> float:
        used = [np.minimum(one.sizes, self.context).mean() for one in self.pieces]
        return 1.0 - float(np.average(used, weights=self.shares)) / self.context

    @property
    def told(self) -> str:
        longer = f"{self.num_cut:,} of {self.num_documents:,} documents longer than a row"
        return f"{self.padded:.2%} of the positions padded, {longer}"

    @property
    def card(self) -> dict[str, float]:
        return {"positions padded": round(self.padded, 6)}

    def rows(self, first: int, count: int) -> np.ndarray:
        out = np.full((count, self.context + 1), self.pad, dtype=np.int64)
        for index in range(count):
            source, row = self.locate(first + index)
            tokens, packed, place = self.tokens[source], self.pieces[source], 0
            here = packed.of(row)
            for start, length in zip(packed.starts[here].tolist(), packed.lengths[here].tolist(), strict=True):
                out[index, place : place + length] = tokens[start : start + length]
                place += length
        return out

    def documents(self, first: int, count: int) -> np.ndarray:
        numbers = np.zeros((count, self.context + 1), dtype=np.int64)
        for index in range(count):
            source, row = self.locate(first + index)
            lengths = self.pieces[source].lengths[self.pieces[source].of(row)]
            numbers[index, : lengths.sum()] = np.repeat(np.arange(1, len(lengths) + 1), lengths)
        return numbers


def pieces(ends: np.ndarray, capacity: int, shared: int) -> Pieces:
    """Documents that end at `ends` as rows of `capacity` tokens; where one is cut, `shared` tokens are in both of two
    pieces that follow one another."""
    begins = np.concatenate(([0], ends[:-1]))
    stride = capacity - shared
    counts = np.maximum(1, -(-(ends - begins - shared) // stride))
    nth = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    starts = np.repeat(begins, counts) + nth * stride
    lengths = np.minimum(np.repeat(ends, counts) - starts, capacity)
    order, row_ends = pack(lengths, capacity)
    return Pieces(starts[order], lengths[order], row_ends)


def joined_ends(group: Sequence[BorderedSource]) -> np.ndarray:
    """Where each document ends in the tokens of a group of sources, [N]."""
    before = np.cumsum([0, *(len(one.tokens) for one in group[:-1])])
    return np.concatenate([one.ends + start for one, start in zip(group, before, strict=True)])
