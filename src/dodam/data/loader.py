"""Rows of token ids from memory-mapped token files. The only state is one integer: how many rows were taken.

In come token files (shards.TokenFile) with weights, out go rows [count, context + 1] in an order computed from
(seed, pass), so any row can be had again after a restart and any rank can take its share. Rows follow one another
through a source's token stream and the last row reaches back over the one before it: nothing is cropped and
nothing is padded. Sources shorter than a row are put together.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
import torch

from dodam.data.batch import TokenBatch
from dodam.errors import DataError


class TokenSource(Protocol):
    """What the loader needs of a token file."""

    @property
    def name(self) -> str: ...
    @property
    def tokens(self) -> np.ndarray: ...
    @property
    def weight(self) -> float: ...
    @property
    def epochs(self) -> float: ...


@dataclass(frozen=True)
class Joined:
    """Sources too short for a row of their own, one after another."""

    name: str
    tokens: np.ndarray
    weight: float
    epochs: float


def join_short(sources: Sequence[TokenSource], context: int) -> list[TokenSource]:
    """The sources; last, and put together, those of one weight and one limit that are shorter than a row."""
    short: dict[tuple[float, float], list[TokenSource]] = {}
    for source in sources:
        if len(source.tokens) <= context:
            short.setdefault((source.weight, source.epochs), []).append(source)
    joined = [
        Joined(", ".join(one.name for one in group), np.concatenate([one.tokens for one in group]), *limits)
        for limits, group in short.items()
    ]
    return [*(source for source in sources if len(source.tokens) > context), *joined]


class RowLoader:
    """All rows of several sources, mixed by weight: an epoch holds each source's rows `weight` times.

    A source with a limit of `epochs` is left out once that many times all its rows have been read, and epochs are
    shorter from then on. DataError where every source has such a limit, and all of them are used up."""

    def __init__(self, sources: Sequence[TokenSource], context: int, seed: int) -> None:
        self.context, self.seed = context, seed
        wanted = join_short([source for source in sources if source.weight > 0], context)
        self.sources = [source for source in wanted if len(source.tokens) > context]
        left_out = [source for source in wanted if len(source.tokens) <= context]
        self.num_left_out = sum(len(source.tokens) for source in left_out)
        if not self.sources:
            longest = max((len(source.tokens) for source in wanted), default=0)
            raise DataError(
                f"the corpus is smaller than one row: {longest} tokens, a row needs {context + 1}",
                mend="Add text, or lower --context.",
            )
        for source in left_out:
            print(f"{source.name}: left out, {len(source.tokens)} tokens are less than a row.", file=sys.stderr)
        self.num_rows = [-(-(len(source.tokens) - 1) // context) for source in self.sources]
        self.shares = [max(1, round(s.weight * rows)) for s, rows in zip(self.sources, self.num_rows, strict=True)]
        self.borders, self.starts = self._epochs()
        self.permutation = lru_cache(maxsize=2 * len(self.sources) + 2)(self._permutation)

    @property
    def rows_per_epoch(self) -> int:
        """Of the first epoch, in which no source is used up if its limit is no less than its weight."""
        return int(self.borders[0, -1])

    @property
    def tokens_per_epoch(self) -> int:
        return self.rows_per_epoch * self.context

    @property
    def wasted(self) -> float:
        """Share of the tokens read twice, as a source's last row reaches back, or never, as they make no row."""
        needed = sum(len(source.tokens) - 1 for source in self.sources)
        read_twice = sum(self.num_rows) * self.context - needed
        return (read_twice + self.num_left_out) / (needed + self.num_left_out)

    def rows(self, first: int, count: int) -> np.ndarray:
        """Rows number first..first+count-1 of the endless order, int64 [count, context + 1]."""
        out = np.empty((count, self.context + 1), dtype=np.int64)
        for index in range(count):
            source, row = self.locate(first + index)
            tokens = self.sources[source].tokens
            start = min(row * self.context, len(tokens) - self.context - 1)
            out[index] = tokens[start : start + self.context + 1]
        return out

    def locate(self, number: int) -> tuple[int, int]:
        """The source and the row in it that stand at place `number` of the endless order."""
        kind = int(np.searchsorted(self.starts, number, side="right")) - 1
        borders = self.borders[kind]
        size = int(borders[-1])
        if not size:
            what = f"all sources have been read as often as their `epochs` allow, {self.starts[kind]:,} rows"
            raise DataError(what, mend="Fewer steps, or a source without a limit.")
        later, place = divmod(number - int(self.starts[kind]), size)  # later than 0 only behind all limits
        epoch = kind + later
        place = int(self.permutation(len(self.sources), epoch, size)[place])
        source = int(np.searchsorted(borders, place, side="right"))
        local = place - (int(borders[source - 1]) if source else 0)
        # Weights that are no whole numbers: a source's own passes go on where the epoch before left off.
        turn, row = divmod(epoch * self.shares[source] + local, self.num_rows[source])
        return source, int(self.permutation(source, turn, self.num_rows[source])[row])

    def _epochs(self) -> tuple[np.ndarray, np.ndarray]:
        """For each epoch until all limits are reached, and last for all that follow: where each source's rows end in
        it [epochs, sources], and how many rows were before it [epochs]."""
        shares = np.array(self.shares)
        passes = [(one.epochs, rows) for one, rows in zip(self.sources, self.num_rows, strict=True)]
        limits = np.array([max(1, round(epochs * rows)) if epochs else 0 for epochs, rows in passes])
        number = max((-(-limit // share) for limit, share in zip(limits, shares, strict=True) if limit), default=0)
        left = np.where(limits > 0, limits - np.arange(number + 1)[:, None] * shares, shares)
        borders = np.cumsum(np.clip(left, 0, shares), axis=1)
        return borders, np.concatenate(([0], np.cumsum(borders[:-1, -1])))

    def _permutation(self, stream: int, turn: int, size: int) -> np.ndarray:
        return np.random.default_rng((self.seed, stream, turn)).permutation(size)


def token_batch(rows: np.ndarray, *, document_mask: bool = False, bos: int = -1) -> TokenBatch:
    """Rows [B, T + 1] -> a batch that predicts each next token.

    With `document_mask`, attention and positions start anew at every `bos`."""
    tensor = torch.from_numpy(rows)
    ids, labels = tensor[:, :-1].contiguous(), tensor[:, 1:].contiguous()
    if not document_mask:
        return TokenBatch(ids, labels)
    starts = ids == bos
    places = torch.arange(ids.shape[1]).expand_as(ids)
    last_start = torch.where(starts, places, 0).cummax(dim=1).values
    return TokenBatch(ids, labels, documents_BT=starts.cumsum(1), positions_BT=places - last_start)
