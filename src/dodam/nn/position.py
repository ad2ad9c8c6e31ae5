"""Rotary positions (Su et al. 2021, RoFormer, eq. 34) in the layout of Hugging Face's Llama family.

B batch, T positions, E head width. The two halves of a head are rotated against each other.
"""

import torch
from torch import Tensor


def rotary_table(head_dim: int, num_positions: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines of every position, each [num_positions, head_dim], fp32."""
    frequencies = theta ** (-torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    angles = torch.outer(torch.arange(num_positions, dtype=torch.float32), frequencies)
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos(), angles.sin()


def rotate(x_BHTE: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair (x_i, x_{i + E/2}) by its position's angle. `cos`, `sin` broadcast to [B, 1, T, E]."""
    left, right = x_BHTE.chunk(2, dim=-1)
    return x_BHTE * cos + torch.cat([-right, left], dim=-1) * sin
