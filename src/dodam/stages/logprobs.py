"""How likely a model finds given answers, without learning from them: what a reference says, and a baseline.

A answers of one prompt.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from dodam.data.answers import Encoded, arrange, in_parts
from dodam.generate.scorer import AT_ONCE, shared_tokens
from dodam.models.decoder import Decoder
from dodam.stages.validation import evaluating
from dodam.train.preference import logprobs_of


class Likelihoods(NamedTuple):
    """Of one prompt's answers the log-probabilities, summed over their tokens, and how many tokens each has, [A]."""

    sums_A: np.ndarray
    lengths_A: np.ndarray

    @property
    def means_A(self) -> np.ndarray:
        return self.sums_A / self.lengths_A


def likelihoods(
    model: Decoder, encoded: Sequence[Sequence[Encoded]], pad: int, dtype: torch.dtype
) -> list[Likelihoods]:
    """What a model gives answers, by prompt."""
    found: list[Likelihoods] = []
    device = model.embedding.weight.device
    with evaluating(model):
        for prompts in in_parts(encoded, AT_ONCE):
            parts = [rows.to(device) for rows in arrange(prompts, pad, shared=shared_tokens(model))]
            told = logprobs_of(model, parts, dtype)
            places = np.cumsum([len(mine) for mine in prompts])[:-1]
            sums, lengths = (np.split(values.cpu().numpy(), places) for values in told)
            found += map(Likelihoods, sums, lengths)
    return found
