"""Rows of which every rank has a section, and their attention: keys and values of all sections are brought together
(context parallel, as Llama 3 was trained: Grattafiori et al. 2024, section 3.3.2).

A row of T positions is 2 n stretches of L, for n ranks; a section is two of them, the r-th from the front and the r-th
from the back, so that all sections have as much to look back on.

B rows, P = 2 L positions of this rank's section, H query heads, K key/value heads, E head width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from dodam.nn.mask import Mask, added


def stretches_of(number: int, rank: int) -> tuple[int, int]:
    """Which stretches of a row a rank of so many has."""
    return rank, 2 * number - 1 - rank


@dataclass(frozen=True)
class Section:
    """`allowed` says of each stretch which keys its queries see among those up to its end; it is broadcastable to
    [B, 1, L, keys]."""

    group: Any
    """The ranks that have the sections of the same rows."""
    allowed: tuple[Tensor, Tensor]
    biases: dict[torch.dtype, list[Tensor]] = field(default_factory=dict)
    """The same as what is added to scores, made once for all blocks, which keep it for the way back."""

    def attend(self, attend: Callable[..., Tensor], q_BHPE: Tensor, k_BKPE: Tensor, v_BKPE: Tensor) -> Tensor:
        """[B, H, P, E]: what the queries of this section find in all of them."""
        k_BKTE, v_BKTE = Gathered.apply(torch.stack([k_BKPE, v_BKPE]), self.group)
        outs = []
        for q_BHLE, bias in zip(q_BHPE.chunk(2, dim=2), self.biases_in(q_BHPE.dtype), strict=True):
            seen = bias.shape[-1]
            outs.append(attend(q_BHLE, k_BKTE[:, :, :seen], v_BKTE[:, :, :seen], Mask(causal=False, bias=bias)))
        return torch.cat(outs, dim=2)

    def biases_in(self, dtype: torch.dtype) -> list[Tensor]:
        if dtype not in self.biases:
            self.biases[dtype] = [added(allowed, dtype) for allowed in self.allowed]
        return self.biases[dtype]


class Gathered(torch.autograd.Function):
    """Keys and values [2, B, K, P, E] of all ranks' sections as whole rows, [2, B, K, T, E]; on the way back each rank
    gets the sum of what all have learned of its own, added up in full precision."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, group: Any) -> Tensor:
        ctx.group = group
        number = dist.get_world_size(group)
        parts = own.new_empty(number * own.shape[0], *own.shape[1:])
        dist.all_gather_into_tensor(parts, own.contiguous(), group=group)
        return in_order([stretch for part in parts.chunk(number) for stretch in part.chunk(2, dim=3)])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        number = dist.get_world_size(ctx.group)
        stretches = grads[0].float().chunk(2 * number, dim=3)
        parts = [torch.cat([stretches[one] for one in stretches_of(number, rank)], dim=3) for rank in range(number)]
        own = torch.empty_like(parts[0])
        dist.reduce_scatter_tensor(own, torch.cat(parts), group=ctx.group)
        return own.to(grads[0].dtype), None


def in_order(stretches: Sequence[Tensor]) -> Tensor:
    """Stretches [2, B, K, L, E] that stand one rank's after the other's, as rows."""
    number = len(stretches) // 2
    places = [place for rank in range(number) for place in stretches_of(number, rank)]
    return torch.cat([stretches[places.index(place)] for place in range(2 * number)], dim=3)
