"""What is minimised to make a model itself prefer what people prefer: DPO and its kin, without a reward model.

In comes a batch of prompts with all their answers, each computed once; out comes the loss of every pair of them, by the
log-probabilities that the model gives them and, in some losses, those that a reference gave. A answers, S pairs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from dodam.data.answers import AnswerBatch, AnswerRows
from dodam.models.answers import hidden_states
from dodam.models.decoder import Decoder
from dodam.train.logprob import token_logprobs

Preference = Literal["dpo", "ipo", "orpo", "simpo"]
REFERRING: tuple[Preference, ...] = ("dpo", "ipo")
"""Losses that look at a reference."""


class Logprobs(NamedTuple):
    """Log-probabilities of answers, summed over their tokens, and how many tokens each has, [A] both."""

    sums_A: Tensor
    lengths_A: Tensor

    @property
    def means_A(self) -> Tensor:
        return self.sums_A / self.lengths_A


def logprobs_of(model: Decoder, parts: Sequence[AnswerRows], dtype: torch.dtype, *, keep: bool = True) -> Logprobs:
    """Of all answers, in their order. `keep` as in `ScoreLoss`."""
    found = []
    for part in parts:
        inputs = (model, part, dtype)
        found.append(summed_logprobs(*inputs) if keep else checkpoint(summed_logprobs, *inputs, use_reentrant=False))
    order_A = torch.cat([part.numbers_A for part in parts]).argsort()
    lengths = [torch.bincount(part.owners_N, minlength=len(part.numbers_A)) for part in parts]
    return Logprobs(torch.cat(found)[order_A], torch.cat(lengths)[order_A])


def summed_logprobs(model: Decoder, rows: AnswerRows, dtype: torch.dtype) -> Tensor:
    """[A]: the log-probability of each answer in some rows, its end included, given its prompt."""
    hidden_ND = hidden_states(model, rows, dtype).flatten(0, 1)[rows.sources_N]
    cap = model.config.logit_softcap
    logprobs_N, _ = token_logprobs(hidden_ND, model.output.weight, rows.tokens_N, dtype, cap=cap, entropy=False)
    sums_A = torch.zeros(len(rows.numbers_A), device=logprobs_N.device)
    return sums_A.index_add(0, rows.owners_N, logprobs_N)


@dataclass(frozen=True, kw_only=True)
class PreferenceLoss:
    """The loss of every pair, by its weight. `beta`, `gamma`, `smoothing` as in `pair_losses`; `sft_weight`: how much
    of the preferred answers' cross-entropy is added; `keep` as in `ScoreLoss`."""

    loss: Preference
    beta: float
    gamma: float = 0.0
    smoothing: float = 0.0
    sft_weight: float = 0.0
    dtype: torch.dtype = torch.float32
    keep: bool = True

    def weight(self, batch: AnswerBatch) -> float:
        return float(batch.weights_S.sum())

    def __call__(self, model: Decoder, batch: AnswerBatch) -> Tensor:
        found = logprobs_of(model, batch.parts, self.dtype, keep=self.keep)
        return (self.losses(found, batch) * batch.weights_S).sum()

    def losses(self, found: Logprobs, batch: AnswerBatch) -> Tensor:
        """[S], from what the model gives the batch's answers."""
        better_S, worse_S = batch.contests_SK[:, 0], batch.contests_SK[:, 1]
        values_A = self.values(found, batch)
        losses_S = pair_losses(
            self.loss, values_A[better_S], values_A[worse_S], beta=self.beta, gamma=self.gamma, smoothing=self.smoothing
        )
        return losses_S - self.sft_weight * found.means_A[better_S]

    def values(self, found: Logprobs, batch: AnswerBatch) -> Tensor:
        """[A]: what is compared of answers: their log-ratios to the reference, for ipo a token, or, without one, their
        log-probabilities a token."""
        if self.loss not in REFERRING:
            return found.means_A
        assert batch.reference_A is not None, "there is no reference to look at"
        ratios_A = found.sums_A - batch.reference_A
        return ratios_A / found.lengths_A if self.loss == "ipo" else ratios_A


def pair_losses(
    loss: Preference, better_S: Tensor, worse_S: Tensor, *, beta: float, gamma: float = 0.0, smoothing: float = 0.0
) -> Tensor:
    """[S]: the loss of pairs of answers.

    - dpo, of log-ratios to the reference: -log sigmoid(beta (better - worse)) (Rafailov et al. 2023, eq. 7), with
      `smoothing` the chance that a pair is the wrong way round (Mitchell 2023, cDPO);
    - ipo, of log-ratios a token: (better - worse - 1 / (2 beta))^2 (Azar et al. 2024, eq. 17);
    - simpo, of log-probabilities a token: -log sigmoid(beta (better - worse) - gamma) (Meng et al. 2024, eq. 6);
    - orpo, of log-probabilities a token: -better - beta log sigmoid(log odds of better - of worse) (Hong et al. 2024,
      eq. 6 and 7)."""
    if loss == "ipo":
        return (better_S - worse_S - 1 / (2 * beta)).square()
    if loss == "orpo":
        return -better_S - beta * F.logsigmoid(log_odds(better_S) - log_odds(worse_S))
    return logistic(beta * (better_S - worse_S) - gamma, smoothing)


def logistic(differences: Tensor, smoothing: float = 0.0) -> Tensor:
    """-log sigmoid of differences; with `smoothing` so much of it the other way round."""
    return -(1 - smoothing) * F.logsigmoid(differences) - smoothing * F.logsigmoid(-differences)


def log_odds(logprobs: Tensor) -> Tensor:
    """log(p / (1 - p)) from log p, exact where p is near 1 and where it is near 0."""
    logprobs = logprobs.clamp(max=-1e-7)
    near_one = logprobs > -math.log(2)
    small, large = torch.where(near_one, -1.0, logprobs), torch.where(near_one, logprobs, -1.0)  # no infinite gradient
    return logprobs - torch.where(near_one, torch.log(-torch.expm1(large)), torch.log1p(-small.exp()))
