"""Where a token stands: rotary positions with the common scalings, the sinusoids of the original Transformer, and T5's
buckets of distances. Learned positions are a plain embedding.

B batch, T positions, E head width. The two halves of a head are rotated against each other (the layout of Hugging
Face's Llama family).
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class RotaryScaling:
    """How rotary positions are stretched beyond the context a model was first trained with.

    `linear` divides all angles (Chen et al. 2023); `llama3` divides those of slow frequencies only (Llama 3.1's
    model card); `yarn` does that with a ramp and a factor on the scores (Peng et al. 2023, YaRN, section 3)."""

    kind: Literal["linear", "llama3", "yarn"]
    factor: float
    original_context: int = 0
    low_frequency_factor: float = 1.0
    high_frequency_factor: float = 4.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None


def rotary_table(
    head_dim: int, num_positions: int, theta: float, scaling: RotaryScaling | None = None
) -> tuple[Tensor, Tensor]:
    """Cosines and sines of every position, each [num_positions, head_dim], fp32 (Su et al. 2021, RoFormer, eq. 34)."""
    frequencies = 1.0 / theta ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    size = 1.0
    if scaling is not None:
        frequencies = scaled(frequencies, head_dim, theta, scaling)
        if scaling.kind == "yarn":
            size = scaling.attention_factor or 0.1 * math.log(scaling.factor) + 1.0
    angles = torch.outer(torch.arange(num_positions, dtype=torch.float32), frequencies)
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos() * size, angles.sin() * size


def scaled(frequencies: Tensor, head_dim: int, theta: float, scaling: RotaryScaling) -> Tensor:
    """The frequencies after scaling; how much each is divided depends on its wavelength."""
    if scaling.kind == "linear":
        return frequencies / scaling.factor
    if scaling.kind == "llama3":
        turns = scaling.original_context * frequencies / (2 * math.pi)
        low, high = scaling.low_frequency_factor, scaling.high_frequency_factor
        kept = ((turns - low) / (high - low)).clamp(0.0, 1.0)
    else:

        def dimension(turns: float) -> float:
            """The dimension that turns so often over the original context."""
            return head_dim * math.log(scaling.original_context / (turns * 2 * math.pi)) / (2 * math.log(theta))

        first = max(math.floor(dimension(scaling.beta_fast)), 0)
        last = min(math.ceil(dimension(scaling.beta_slow)), head_dim - 1)
        ramp = (torch.arange(head_dim // 2, dtype=torch.float32) - first) / max(last - first, 0.001)
        kept = 1.0 - ramp.clamp(0.0, 1.0)
    return frequencies * kept + frequencies / scaling.factor * (1.0 - kept)


def rotate(x_BHTE: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair (x_i, x_{i + E/2}) by its position's angle. `cos`, `sin` broadcast to [B, 1, T, E]."""
    left, right = x_BHTE.chunk(2, dim=-1)
    return x_BHTE * cos + torch.cat([-right, left], dim=-1) * sin


def sinusoids(num_positions: int, width: int) -> Tensor:
    """The fixed table [num_positions, width] of Vaswani et al. 2017 (section 3.5), sines in the first half and cosines
    in the second, as Marian has them."""
    rates = 10_000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = torch.outer(torch.arange(num_positions, dtype=torch.float64), rates)
    return torch.cat([angles.sin(), angles.cos()[:, : width // 2]], dim=-1).float()


def distance_buckets(num_queries: int, num_keys: int, *, buckets: int, furthest: int, both_ways: bool) -> Tensor:
    """T5's bucket for every (query, key) [num_queries, num_keys]: near distances have their own, far ones share them
    logarithmically (Raffel et al. 2020, section 2.1). The last query stands at the last key when not `both_ways`."""
    offset = 0 if both_ways else num_keys - num_queries
    behind = torch.arange(num_queries)[:, None] + offset - torch.arange(num_keys)[None, :]
    first = torch.zeros_like(behind)
    if both_ways:
        buckets //= 2
        first = (behind < 0).long() * buckets
        behind = behind.abs()
    else:
        behind = behind.clamp(min=0)
    near = buckets // 2
    far = near + (torch.log(behind.float().clamp(min=1) / near) / math.log(furthest / near) * (buckets - near)).long()
    return first + torch.where(behind < near, behind, far.clamp(max=buckets - 1))
