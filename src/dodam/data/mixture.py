"""The endless order in which rows of several sources are read, mixed by weight. Its only state is one integer.

In come sources with weights and how many rows each of them makes; out goes, for any number, which row of which source
stands there. It is computed from (seed, pass), so any row can be had again after a restart and any rank can take its
share.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np

from dodam.errors import DataError


class Weighted(Protocol):
    """What the order needs of a source: its weight, and how often it is read at most (0: no limit)."""

    @property
    def weight(self) -> float: ...
    @property
    def epochs(self) -> float: ...


class Mixture:
    """All rows of several sources, mixed by weight: an epoch holds each source's rows `weight` times.

    A source with a limit of `epochs` is left out once that many times all its rows have been read, and epochs are
    shorter from then on. DataError where every source has such a limit, and all of them are used up."""

    def __init__(self, sources: Sequence[Weighted], num_rows: Sequence[int], context: int, seed: int) -> None:
        self.num_rows, self.context, self.seed = num_rows, context, seed
        self.shares = [max(1, round(one.weight * rows)) for one, rows in zip(sources, num_rows, strict=True)]
        self.borders, self.starts = self._epochs([one.epochs for one in sources])
        self.permutation = lru_cache(maxsize=2 * len(sources) + 2)(self._permutation)

    @property
    def rows_per_epoch(self) -> int:
        """Of the first epoch, in which no source is used up if its limit is no less than its weight."""
        return int(self.borders[0, -1])

    @property
    def tokens_per_epoch(self) -> int:
        """Positions of the first epoch that hold text."""
        return round(self.rows_per_epoch * self.context * (1.0 - self.padded))

    @property
    def padded(self) -> float:
        """Share of the positions that hold none."""
        return 0.0

    @property
    def told(self) -> str:
        """How much is lost, for the console."""
        raise NotImplementedError

    @property
    def card(self) -> dict[str, float]:
        """The same for the model card."""
        raise NotImplementedError

    def rows(self, first: int, count: int) -> np.ndarray:
        """Rows number first..first+count-1 of the endless order, int64 [count, context + 1]."""
        raise NotImplementedError

    def documents(self, first: int, count: int) -> np.ndarray | None:
        """For these rows which document each token is of, counted from 1 in every row, 0 where there is padding; None
        where rows are full and each document begins with a token that says so."""
        raise NotImplementedError

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
        place = int(self.permutation(len(self.num_rows), epoch, size)[place])
        source = int(np.searchsorted(borders, place, side="right"))
        local = place - (int(borders[source - 1]) if source else 0)
        # Weights that are no whole numbers: a source's own passes go on where the epoch before left off.
        turn, row = divmod(epoch * self.shares[source] + local, self.num_rows[source])
        return source, int(self.permutation(source, turn, self.num_rows[source])[row])

    def _epochs(self, epochs: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
        """For each epoch until all limits are reached, and last for all that follow: where each source's rows end in
        it [epochs, sources], and how many rows were before it [epochs]."""
        shares = np.array(self.shares)
        passes = zip(epochs, self.num_rows, strict=True)
        limits = np.array([max(1, round(most * rows)) if most else 0 for most, rows in passes])
        number = max((-(-limit // share) for limit, share in zip(limits, shares, strict=True) if limit), default=0)
        left = np.where(limits > 0, limits - np.arange(number + 1)[:, None] * shares, shares)
        borders = np.cumsum(np.clip(left, 0, shares), axis=1)
        return borders, np.concatenate(([0], np.cumsum(borders[:-1, -1])))

    def _permutation(self, stream: int, turn: int, size: int) -> np.ndarray:
        return np.random.default_rng((self.seed, stream, turn)).permutation(size)
