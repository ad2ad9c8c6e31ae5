"""What is read and minimised in a step of `classify`: batches of labelled texts, and their loss.

In come encoded texts with what is true of them; out go batches, every one a function of its number, and summed losses.
B texts of a batch, N texts, L labels.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dodam.data.labels import Example, names_of
from dodam.exchange.heads import Problem
from dodam.generate.classifier import AT_ONCE, Encoded, TextBatch, collate
from dodam.models.heads import classify
from dodam.stages.validation import eager

VALIDATED = 1024  # texts read at every validation
WINDOW = 64  # batches whose texts are sorted by length together


@dataclass(frozen=True)
class LabelLoss:
    """Cross-entropy, binary cross-entropy or squared error, summed over texts. `weights_L`: what a text of each label
    counts."""

    problem: Problem
    dtype: torch.dtype
    weights_L: Tensor | None = None
    smoothing: float = 0.0

    def weight(self, batch: TextBatch) -> float:
        assert batch.targets is not None
        if self.weights_L is None:
            return float(len(batch.targets))
        return float(self.weights_L.to(batch.targets.device)[batch.targets].sum())

    def __call__(self, model: Any, batch: TextBatch) -> Tensor:
        assert batch.targets is not None
        logits_BL = classify(model, batch.ids_BT, batch.real_BT, batch.segments_BT, self.dtype)
        return self.loss(logits_BL, batch.targets)

    def loss(self, logits_BL: Tensor, targets: Tensor) -> Tensor:
        """Of logits against labels' numbers [B], 0 or 1 for each label [B, L], or numbers [B]."""
        if self.problem == "regression":
            return F.mse_loss(logits_BL[:, 0], targets, reduction="sum")
        if self.problem == "multi_label_classification":
            return F.binary_cross_entropy_with_logits(logits_BL, targets, reduction="none").mean(1).sum()
        weights = None if self.weights_L is None else self.weights_L.to(logits_BL.device)
        log_BL = F.log_softmax(logits_BL, -1)
        true_B = log_BL.gather(1, targets[:, None])[:, 0]
        nats_B = -((1 - self.smoothing) * true_B + self.smoothing * log_BL.mean(1))
        return nats_B.sum() if weights is None else (nats_B * weights[targets]).sum()


class LabelledLoader:
    """Batches of labelled texts of like length, every one a function of its number.

    Texts come in an endless order, each once a pass, drawn anew from (seed, pass). A window of batches is sorted by
    length, cut, and its batches are put in an order drawn from (seed, window)."""

    def __init__(
        self, texts: Sequence[Encoded], targets: np.ndarray, batch: int, pad: int, seed: int, step: int, most: int
    ) -> None:
        self.texts, self.targets, self.pad, self.seed = texts, targets, pad, seed
        self.batch_size, self.step, self.most = batch, step, most
        self.window = max(1, min(WINDOW, len(texts) // batch))  # not much more than a pass, lest a text meet itself
        self.order = lru_cache(maxsize=2)(self._order)
        self.batches = lru_cache(maxsize=2)(self._batches)

    @property
    def batches_per_epoch(self) -> float:
        return len(self.texts) / self.batch_size

    def batch(self, step: int, microbatch: int) -> list[TextBatch]:
        """Batch number `step`, in parts of `microbatch` texts."""
        window, place = divmod(step, self.window)
        picks = self.batches(window)[place]
        return [self.collated(picks[first : first + microbatch]) for first in range(0, len(picks), microbatch)]

    def collated(self, picks: Sequence[int] | np.ndarray) -> TextBatch:
        batch = collate([self.texts[index] for index in picks], self.pad, step=self.step, most=self.most)
        return replace(batch, targets=torch.from_numpy(self.targets[list(picks)]))

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


def problem_of(task: str) -> Problem:
    """What the task is called in config.json."""
    if task == "regression":
        return "regression"
    return "multi_label_classification" if task == "multilabel" else "single_label_classification"


def targets_of(examples: Sequence[Example], names: Sequence[str], task: str) -> np.ndarray:
    """Labels' numbers [N], 1 for each label that holds [N, L], or numbers [N]."""
    if task == "regression":
        return np.array([example.label for example in examples], dtype=np.float32)
    numbers = {name: number for number, name in enumerate(names)}
    if task != "multilabel":
        return np.array([numbers[name] for example in examples for name in names_of(example)], dtype=np.int64)
    holds = np.zeros((len(examples), len(numbers)), dtype=np.float32)
    for row, example in enumerate(examples):
        holds[row, [numbers[name] for name in names_of(example)]] = 1.0
    return holds


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Within, nothing is dropped."""
    model.eval()
    try:
        yield
    finally:
        model.train()


def held_back_loss(model: Any, rows: LabelledLoader, loss: LabelLoss) -> float:
    """Mean loss of the first held-back texts, unweighted and unsmoothed. The same texts at every call."""
    count, total = min(VALIDATED, len(rows.texts)), 0.0
    with eager(model), evaluating(model):
        for first in range(0, count, AT_ONCE):
            batch = rows.collated(range(first, min(first + AT_ONCE, count)))
            total += float(loss(model, batch.to(model.embedding.weight.device)))
    return total / count
