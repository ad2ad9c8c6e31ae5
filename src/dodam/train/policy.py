"""What a policy minimises: the clipped losses of PPO and GRPO over the answers it wrote itself.

In come answers with what was thought of them when they were written (`RolloutBatch`); out come summed losses, and sums
for the metrics on the side. Pure functions first, the two objectives after them. B rows, T positions.
"""

from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from dodam.data.batch import IGNORED, TokenBatch
from dodam.models.answers import branch_mask
from dodam.models.decoder import Decoder
from dodam.nn.mask import CAUSAL, Mask
from dodam.train import distributed
from dodam.train.logprob import label_logprobs
from dodam.train.objective import TokenCrossEntropy

Averaged = Literal["answers", "tokens", "longest"]
"""What a loss is averaged over: each answer by itself and then answers; all tokens alike; answers, the sum over each
divided by the most tokens one may have."""


@dataclass(frozen=True)
class RolloutBatch:
    """Prompts and answers [B, T], padded on the right, and what belongs to the tokens of the answers: all tensors are
    aligned with `labels_BT`, which is `IGNORED` where no token of an answer is predicted.

    `old_BT` are log-probabilities when the answers were written (None: the weights are still the same), `reference_BT`
    those of the reference, `values_BT` what the value model then said, `returns_BT` what it should have said.

    A row may hold several answers to its prompt. Then `branches_BT` is 0 in the prompt and after it the number of the
    answer, each of which begins with the prompt's last token, `positions_BT` says where each token would stand alone,
    and `lengths_BT` how long the answer is that a label belongs to. Without them each row holds one."""

    ids_BT: Tensor
    labels_BT: Tensor
    advantages_BT: Tensor
    old_BT: Tensor | None = None
    reference_BT: Tensor | None = None
    values_BT: Tensor | None = None
    returns_BT: Tensor | None = None
    positions_BT: Tensor | None = None
    branches_BT: Tensor | None = None
    lengths_BT: Tensor | None = None

    @property
    def num_tokens(self) -> int:
        return self.ids_BT.numel()

    @property
    def answered_BT(self) -> Tensor:
        return self.labels_BT != IGNORED

    @property
    def shares_BT(self) -> Tensor:
        """1 / (tokens of its answer) at each label, 0 elsewhere: over an answer they sum up to 1."""
        answered_BT = self.answered_BT
        lengths_BT = answered_BT.sum(1, keepdim=True) if self.lengths_BT is None else self.lengths_BT
        return answered_BT / lengths_BT.clamp(min=1)

    @property
    def num_answers(self) -> int:
        return len(self.ids_BT) if self.lengths_BT is None else round(float(self.shares_BT.sum()))

    @cached_property
    def mask(self) -> Mask:
        return CAUSAL if self.branches_BT is None else branch_mask(self.branches_BT)

    def to(self, device: str | torch.device) -> "RolloutBatch":
        given = {one.name: getattr(self, one.name) for one in fields(self)}
        return replace(self, **{name: value.to(device) for name, value in given.items() if value is not None})


@dataclass(frozen=True)
class ReplayBatch:
    """Rows of text that are learned along, and what their summed loss is multiplied by."""

    text: TokenBatch
    scale: float

    @property
    def num_tokens(self) -> int:
        return self.text.num_tokens

    def to(self, device: str | torch.device) -> "ReplayBatch":
        return ReplayBatch(self.text.to(device), self.scale)


@dataclass
class Sums:
    """Sums for the metrics over the batches since they were last told: name -> (sum, what to divide it by)."""

    sums: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def add(self, name: str, values: Tensor, count: Tensor) -> None:
        total, of = self.sums.get(name, (values.new_zeros(()), values.new_zeros(())))
        self.sums[name] = (total + values.detach().sum(), of + count)

    def tell(self) -> dict[str, float]:
        """The means over the batches of all ranks, and begin again."""
        means = {}
        for name, both in self.sums.items():
            total, of = distributed.summed(torch.stack(both))
            means[name] = float(total / of.clamp(min=1))
        self.sums = {}
        return means


def policy_loss(logprobs: Tensor, old: Tensor, advantages: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """The clipped loss of each token (Schulman et al. 2017, eq. 7), its ratio cut below 1 - low and above 1 + high
    (Yu et al. 2025, DAPO, eq. 10), and whether the cut decided."""
    ratios = (logprobs - old).exp()
    losses, cut = -advantages * ratios, -advantages * ratios.clamp(1 - low, 1 + high)
    return torch.maximum(losses, cut), cut > losses


def value_loss(values: Tensor, old: Tensor, returns: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    """Half the squared error of each value, the larger one of as it is and moved no further than `clip` from what it
    was (Schulman et al.'s code; Engstrom et al. 2020), and whether the cut decided."""
    near = old + (values - old).clamp(-clip, clip)
    errors, cut = (values - returns).square(), (near - returns).square()
    return 0.5 * torch.maximum(errors, cut), cut > errors


def k3(logprobs: Tensor, reference: Tensor) -> Tensor:
    """The estimate r - 1 - log r of KL(policy || reference) at each token, r = reference / policy (Schulman 2020):
    never below 0, unbiased for tokens the policy drew."""
    difference = reference - logprobs
    return difference.exp() - difference - 1


@dataclass(frozen=True)
class GrpoObjective:
    """Group-relative policy optimisation (Shao et al. 2024, eq. 3): the clipped loss of advantages that answers to the
    same prompt gave each other, and `kl` times k3. `averaged` sets apart GRPO (answers), DAPO (tokens) and Dr. GRPO
    (longest: `most` tokens; Liu et al. 2025)."""

    low: float
    high: float
    kl: float
    averaged: Averaged
    most: int
    temperature: float = 1.0
    dtype: torch.dtype = torch.float32
    sums: Sums = field(default_factory=Sums)

    def weight(self, batch: RolloutBatch) -> float:
        return float(batch.answered_BT.sum()) if self.averaged == "tokens" else float(batch.num_answers)

    def __call__(self, model: Decoder, batch: RolloutBatch) -> Tensor:
        answered_BT = batch.answered_BT
        logprobs_BT, entropies_BT = told(model, batch, self.dtype, self.temperature)
        old_BT = logprobs_BT.detach() if batch.old_BT is None else batch.old_BT
        losses_BT, clipped_BT = policy_loss(logprobs_BT, old_BT, batch.advantages_BT, self.low, self.high)
        count = answered_BT.sum()
        if batch.reference_BT is not None:
            kl_BT = k3(logprobs_BT, batch.reference_BT) * answered_BT
            losses_BT = losses_BT + self.kl * kl_BT
            self.sums.add("kl", kl_BT, torch.tensor(batch.num_answers, device=kl_BT.device))
        self.sums.add("clipped", (clipped_BT & answered_BT).float(), count)
        self.sums.add("entropy", entropies_BT, count)
        if self.averaged == "answers":
            return (losses_BT * batch.shares_BT).sum()
        return (losses_BT * answered_BT).sum() / (self.most if self.averaged == "longest" else 1)


@dataclass(frozen=True)
class PpoObjective:
    """PPO over tokens (Ziegler et al. 2019; Ouyang et al. 2022, eq. 2): the clipped policy loss, `value_weight` times
    the clipped value loss, and the loss of text read along (`ReplayBatch`), whose scale is set where it is read."""

    clip: float
    value_clip: float
    value_weight: float
    temperature: float = 1.0
    dtype: torch.dtype = torch.float32
    sums: Sums = field(default_factory=Sums)

    def weight(self, batch: RolloutBatch | ReplayBatch) -> float:
        return float(batch.answered_BT.sum()) if isinstance(batch, RolloutBatch) else 0.0

    def __call__(self, model: Any, batch: RolloutBatch | ReplayBatch) -> Tensor:
        if isinstance(batch, ReplayBatch):
            loss, count = TokenCrossEntropy(self.dtype)(model, batch.text), (batch.text.labels_BT != IGNORED).sum()
            self.sums.add("replay_loss", loss, count)
            return batch.scale * loss
        assert batch.old_BT is not None and batch.values_BT is not None and batch.returns_BT is not None
        answered_BT = batch.answered_BT
        count = answered_BT.sum()
        logprobs_BT, entropies_BT, values_BT = judged(model, batch, self.dtype, self.temperature)
        policy_BT, clipped_BT = policy_loss(logprobs_BT, batch.old_BT, batch.advantages_BT, self.clip, self.clip)
        value_BT, value_clipped_BT = value_loss(values_BT, batch.values_BT, batch.returns_BT, self.value_clip)
        for name, values in (
            ("policy_loss", policy_BT), ("value_loss", value_BT), ("entropy", entropies_BT),
            ("clipped", clipped_BT.float()), ("value_clipped", value_clipped_BT.float()),
            ("approximate_kl", 0.5 * (logprobs_BT - batch.old_BT).square()),
        ):  # fmt: skip
            self.sums.add(name, values * answered_BT, count)
        return ((policy_BT + self.value_weight * value_BT) * answered_BT).sum()


def hidden_states(model: Decoder, batch: RolloutBatch, dtype: torch.dtype) -> Tensor:
    """[B, T, D], the blocks computed in `dtype`."""
    with torch.autocast(batch.ids_BT.device.type, dtype, enabled=dtype != torch.float32):
        return model(batch.ids_BT, positions_BT=batch.positions_BT, mask=batch.mask)


def told(
    model: Decoder, batch: RolloutBatch, dtype: torch.dtype, temperature: float, *, entropy: bool = True
) -> tuple[Tensor, Tensor]:
    """Log-probabilities and entropies [B, T] of a batch's labels; 0 where there are none, and without `entropy`."""
    hidden_BTD = hidden_states(model, batch, dtype)
    return label_logprobs(model, hidden_BTD, batch.labels_BT, dtype, temperature, entropy=entropy)


def judged(
    model: Any, batch: RolloutBatch, dtype: torch.dtype, temperature: float, *, entropy: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """The same, and the values [B, T] by the value model that the policy has."""
    hidden_BTD = hidden_states(model, batch, dtype)
    logprobs_BT, entropies_BT = label_logprobs(model, hidden_BTD, batch.labels_BT, dtype, temperature, entropy=entropy)
    values_BT = model.value(hidden_BTD, batch.ids_BT, dtype, positions_BT=batch.positions_BT, mask=batch.mask)
    return logprobs_BT, entropies_BT, values_BT * batch.answered_BT
