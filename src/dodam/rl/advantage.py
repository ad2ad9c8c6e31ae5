"""How much better an answer, or one of its tokens, was than expected. Pure functions on tensors.

B answers, A tokens of the longest one; `real_BA` is True where an answer has a token, its tokens stand on the left.
"""

import torch
from torch import Tensor

GROUP_EPSILON = 1e-4
WHITEN_EPSILON = 1e-8


def token_rewards(scores_B: Tensor, kl_BA: Tensor, real_BA: Tensor, coefficient: float) -> Tensor:
    """The reward of each token [B, A]: minus the coefficient times log(policy / reference) there, and at the last token
    the answer's score (Ziegler et al. 2019, eq. 2; Ouyang et al. 2022, section 3.5)."""
    rewards_BA = -coefficient * kl_BA * real_BA
    last_B = real_BA.sum(1) - 1
    rows_B = torch.arange(len(scores_B), device=scores_B.device)
    rewards_BA[rows_B, last_B] += scores_B
    return rewards_BA


def gae(
    rewards_BA: Tensor, values_BA: Tensor, real_BA: Tensor, discount: float, smoothing: float
) -> tuple[Tensor, Tensor]:
    """Advantages and returns [B, A] by generalised advantage estimation (Schulman et al. 2016, eq. 16): discount is
    gamma, smoothing is lambda. Behind its last token an answer is over, whether it ended by itself or not."""
    values_BA, rewards_BA = values_BA * real_BA, rewards_BA * real_BA
    advantages_BA = torch.zeros_like(values_BA)
    next_value_B = next_advantage_B = values_BA.new_zeros(len(values_BA))
    for place in reversed(range(values_BA.shape[1])):
        delta_B = rewards_BA[:, place] + discount * next_value_B - values_BA[:, place]
        next_advantage_B = (delta_B + discount * smoothing * next_advantage_B) * real_BA[:, place]
        next_value_B = values_BA[:, place]
        advantages_BA[:, place] = next_advantage_B
    return advantages_BA, advantages_BA + values_BA


def whiten(values_BA: Tensor, real_BA: Tensor, *, shift: bool = True) -> Tensor:
    """Divided by the standard deviation of all real values and, with `shift`, their mean taken away."""
    chosen = values_BA[real_BA]
    mean, variance = chosen.mean(), chosen.var(correction=0)
    whitened_BA = (values_BA - mean) * (variance + WHITEN_EPSILON).rsqrt()
    return (whitened_BA if shift else whitened_BA + mean) * real_BA


def group_advantages(scores_B: Tensor, group: int, *, normalize: bool) -> Tensor:
    """Scores less the mean of their group, `group` answers to one prompt standing together [B]; with `normalize` over
    the group's standard deviation (Shao et al. 2024, section 4.1.2), without it Dr. GRPO's (Liu et al. 2025)."""
    scores_PG = scores_B.view(-1, group)
    advantages_PG = scores_PG - scores_PG.mean(1, keepdim=True)
    if normalize:
        advantages_PG = advantages_PG / (scores_PG.std(1, keepdim=True) + GROUP_EPSILON)
    return advantages_PG.flatten()


def explained_variance(values_BA: Tensor, returns_BA: Tensor, real_BA: Tensor) -> float:
    """What share of the returns' variance the values told beforehand; 0 where the returns are all alike."""
    returns, errors = returns_BA[real_BA], (returns_BA - values_BA)[real_BA]
    variance = returns.var(correction=0)
    return float(1 - errors.var(correction=0) / variance) if float(variance) > 0 else 0.0


def overlong(length: int, most: int, margin: int) -> float:
    """What an answer of `length` tokens is punished with when at most `most` may be written: from `most - margin` on
    linearly down to -1 (Yu et al. 2025, DAPO, eq. 13). 0 without a margin."""
    return -max(0.0, (length - (most - margin)) / margin) if margin else 0.0
