"""What is minimised to make scores order answers as people do: Bradley-Terry over pairs, Plackett-Luce over rankings.

In comes a batch of prompts with all their answers; each answer is computed once, whatever number of contests it is in.
Out comes the summed loss, each contest counting its weight. A answers, S contests of at most K answers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from dodam.data.answers import NOBODY, AnswerBatch, AnswerRows
from dodam.models.answers import score


@dataclass(frozen=True, kw_only=True)
class ScoreLoss:
    """Of every contest -log of the probability that it went as it did.

    `tie_strength`: Davidson's nu; 0 knows no ties. `keep`: whether the activations of all answers are kept; else those
    of a part of them at a time, each computed again when its gradient is taken."""

    dtype: torch.dtype = torch.float32
    tie_strength: float = 0.0
    keep: bool = True

    def weight(self, batch: AnswerBatch) -> float:
        return float(batch.weights_S.sum())

    def __call__(self, model: Any, batch: AnswerBatch) -> Tensor:
        scores_A = scores_of(model, batch.parts, self.dtype, keep=self.keep)
        return (self.losses(scores_A, batch) * batch.weights_S).sum()

    def losses(self, scores_A: Tensor, batch: AnswerBatch) -> Tensor:
        """[S], from the scores of the batch's answers."""
        scores_SK = scores_A[batch.contests_SK.clamp(min=0)]
        if self.tie_strength:
            return davidson(scores_SK[:, 0] - scores_SK[:, 1], batch.tied_S, self.tie_strength, batch.margins_S)
        return first_among(scores_SK, batch.contests_SK != NOBODY, batch.margins_S)


def scores_of(model: Any, parts: Sequence[AnswerRows], dtype: torch.dtype, *, keep: bool = True) -> Tensor:
    """Scores [A] of all answers, in their order."""
    found = []
    for part in parts:
        inputs = (model, part, dtype)
        found.append(score(*inputs) if keep else checkpoint(score, *inputs, use_reentrant=False))
    numbers_A = torch.cat([part.numbers_A for part in parts])
    return torch.cat(found)[numbers_A.argsort()]


def first_among(scores_SK: Tensor, there_SK: Tensor, margins_S: Tensor) -> Tensor:
    """[S]: -log of the share that the first answer has among all that are there, by exp(score); the first has to be
    `margins_S` higher for the same share.

    Of two answers this is Bradley-Terry's -log sigmoid(first - second - margin) (Ouyang et al. 2022, eq. 1; margins:
    Touvron et al. 2023, Llama 2, eq. 2); for each answer of a ranking against all below it, Plackett-Luce's."""
    lowered_SK = torch.cat([scores_SK[:, :1] - margins_S[:, None], scores_SK[:, 1:]], 1)
    lowered_SK = lowered_SK.masked_fill(~there_SK, -math.inf)
    return lowered_SK.logsumexp(1) - lowered_SK[:, 0]


def davidson(differences_S: Tensor, tied_S: Tensor, strength: float, margins_S: Tensor | None = None) -> Tensor:
    """[S]: -log of P(first) = a / (a + b + nu sqrt(ab)), or, where the two are tied, of nu sqrt(ab) over the same, with
    a / b = exp(difference) (Davidson 1970). Two equal answers are tied with the probability nu / (2 + nu)."""
    half_S = (differences_S if margins_S is None else differences_S - margins_S) / 2
    terms_S3 = torch.stack([half_S, -half_S, torch.full_like(half_S, math.log(strength))], 1)
    happened_S = torch.where(tied_S, terms_S3[:, 2], terms_S3[:, 0])
    return terms_S3.logsumexp(1) - happened_S


def strength_of(tied_share: float) -> float:
    """Davidson's nu with which two equal answers are tied as often as pairs are. A share below 1."""
    return 2 * tied_share / (1 - tied_share)
