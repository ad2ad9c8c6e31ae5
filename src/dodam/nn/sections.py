"""Rows of which every rank has a section, and their attention: keys and values of all sections are brought together
(context parallel, as Llama 3 was trained: Grattafiori et al. 2024, section 3.3.2).

B rows, P positions of this rank's section, S of all sections, H query heads, K key/value heads, E head width.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from dodam.nn.mask import Mask


@dataclass(frozen=True)
class Section:
    """`allowed` says which keys of all sections, one rank's after the other's, the queries of this one see; it is
    broadcastable to [B, 1, P, S]."""

    group: Any
    """The ranks that have the sections of the same rows."""
    allowed: Tensor

    def attend(self, attend: Callable[..., Tensor], q_BHPE: Tensor, k_BKPE: Tensor, v_BKPE: Tensor) -> Tensor:
        """[B, H, P, E]: what the queries of this section find in all of them."""
        both = Gathered.apply(torch.stack([k_BKPE, v_BKPE]), self.group)
        return attend(q_BHPE, both[0], both[1], Mask(causal=False, allowed=self.allowed))


class Gathered(torch.autograd.Function):
    """Keys and values [2, B, K, P, E] of every rank one behind the other, [2, B, K, S, E]; on the way back each rank
    gets the sum of what all have learned of its own, added up in full precision."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, group: Any) -> Tensor:
        ctx.group = group
        number = dist.get_world_size(group)
        parts = own.new_empty(number * own.shape[0], *own.shape[1:])
        dist.all_gather_into_tensor(parts, own.contiguous(), group=group)
        return torch.cat(parts.chunk(number), dim=3)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        parts = grads[0].float().chunk(dist.get_world_size(ctx.group), dim=3)
        own = torch.empty_like(parts[0], memory_format=torch.contiguous_format)
        dist.reduce_scatter_tensor(own, torch.cat(parts), group=ctx.group)
        return own.to(grads[0].dtype), None
