"""What is read in a step of `classify`, whatever the task: rows of labelled texts, in batches of like length.

In come encoded texts with what is true of them; out go batches, every one a function of its number, and the loss on
those held back. B texts of a batch, T tokens, N texts.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch

from dodam.data.batch import IGNORED
from dodam.generate.classifier import AT_ONCE, Encoded, TextBatch, collate
from dodam.stages.validation import evaluating
from dodam.train.distributed import share
from dodam.train.objective import Objective

VALIDATED = 1024  # texts read at every validation
WINDOW = 64  # batches whose texts are sorted by length together


class Rows(NamedTuple):
    """Encoded texts and what is true of them: an array whose rows belong to theirs, [N] or [N, L], or for each an array
    of its tokens, [T] or [T, 2], `IGNORED` where nothing is told of one. `recut` gives text i as it is read in step n,
    where that is not always the same."""

    texts: Sequence[Encoded]
    targets: np.ndarray | Sequence[np.ndarray]
    recut: Callable[[int, int], Encoded] | None = None

    def told(self) -> "Rows":
        """Those of whose tokens anything is told."""
        kept = [index for index, target in enumerate(self.targets) if (target != IGNORED).any()]
        return Rows([self.texts[index] for index in kept], [self.targets[index] for index in kept])


class LabelledLoader:
    """Batches of labelled texts of like length, every one a function of its number.

    Texts come in an endless order, each once a pass, drawn anew from (seed, pass). A window of batches is sorted by
    length, cut, and its batches are put in an order drawn from (seed, window)."""

    def __init__(
        self,
        rows: Rows,
        batch: int,
        pad: int,
        seed: int,
        step: int,
        most: int,
    ) -> None:
        self.texts, self.targets, self.recut = rows
        self.pad, self.seed = pad, seed
        self.batch_size, self.step, self.most = batch, step, most
        self.window = max(1, min(WINDOW, len(self.texts) // batch))  # hardly more than a pass
        self.order = lru_cache(maxsize=2)(self._order)
        self.batches = lru_cache(maxsize=2)(self._batches)

    @property
    def batches_per_epoch(self) -> float:
        return len(self.texts) / self.batch_size

    def batch(self, step: int, microbatch: int) -> list[TextBatch]:
        """Batch number `step`, in parts of `microbatch` texts; of many ranks each has its share."""
        window, place = divmod(step, self.window)
        mine, count = share(self.batch_size)
        picks = self.batches(window)[place][mine : mine + count]
        return [self.collated(picks[first : first + microbatch], step) for first in range(0, len(picks), microbatch)]

    def collated(self, picks: Sequence[int] | np.ndarray, step: int | None = None) -> TextBatch:
        """The texts of these numbers as one batch; as step number `step` reads them, or as they usually are."""
        if self.recut is None or step is None:
            texts = [self.texts[index] for index in picks]
        else:
            texts = [self.recut(int(index), step) for index in picks]
        batch = collate(texts, self.pad, step=self.step, most=self.most)
        if isinstance(self.targets, np.ndarray):
            return replace(batch, targets=torch.from_numpy(self.targets[list(picks)]))
        mine = [self.targets[index] for index in picks]
        targets = np.full((len(mine), batch.ids_BT.shape[1], *mine[0].shape[1:]), IGNORED, dtype=np.int64)
        for row, target in enumerate(mine):
            targets[row, : len(target)] = target
        return replace(batch, targets=torch.from_numpy(targets))

    def _batches(self, window: int) -> list[np.ndarray]:
        size = self.window * self.batch_size
        places = range(window * size, (window + 1) * size)
        picks = np.array([self.order(place // len(self.texts))[place % len(self.texts)] for place in places])
        lengths = np.array([len(self.texts[index].ids) for index in picks])
        sorted_picks = picks[np.argsort(lengths, kind="stable")].reshape(self.window, self.batch_size)
        drawn = np.random.default_rng((self.seed, 1, window)).permutation(self.window)
        return [sorted_picks[number] for number in drawn]

    def _order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng((self.seed, 0, epoch)).permutation(len(self.texts))


def held_back_loss(model: Any, rows: LabelledLoader, loss: Objective) -> float:
    """Mean loss of the first held-back texts, unweighted and unsmoothed. The same texts at every call."""
    count, total, weight = min(VALIDATED, len(rows.texts)), 0.0, 0.0
    with evaluating(model):
        for first in range(0, count, AT_ONCE):
            batch = rows.collated(range(first, min(first + AT_ONCE, count))).to(model.embedding.weight.device)
            total += float(loss(model, batch))
            weight += loss.weight(batch)
    return total / weight
