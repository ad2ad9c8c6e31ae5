"""Who may look at whom, as one value that a model builds once and hands to every block.

B batch, T query positions, S key positions. `allowed` is True where a query may see a key.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from dodam.nn.branches import Branches
    from dodam.nn.sections import Section


@dataclass(frozen=True)
class Mask:
    """`causal`: queries and keys are the same positions and none sees a later one; kernels skip what comes after.
    `allowed`: bool, broadcastable to [B, 1, T, S]; where given it says all, the triangle of a causal mask included.
    `bias`: added to the scores, broadcastable to [B, H, T, S] (T5's relative positions).
    `branches`: of rows in which answers stand behind one prompt; it says all.
    `section`: of rows of which this rank has some positions only; it says all."""

    causal: bool
    allowed: Tensor | None = None
    bias: Tensor | None = None
    branches: "Branches | None" = None
    section: "Section | None" = None

    def within(self, window: int, queries: Tensor, num_keys: int, *, both_ways: bool = False) -> "Mask":
        """The same, but a query sees only the last `window` keys, itself counted; `both_ways` as many to the right.

        `queries` are the key positions at which the queries stand, [T] or [B, T]. Within a packed row that is where
        they stand in the row. With `both_ways` a query always sees itself: one amid padding would else see nothing,
        and a softmax over nothing is NaN."""
        assert self.branches is None and self.section is None, "a window is counted in places of the row"
        if num_keys <= window:
            return self
        distance = queries[..., :, None] - torch.arange(num_keys, device=queries.device)
        distance = distance[None, None] if distance.ndim == 2 else distance[:, None]
        near = (distance < window) & (distance > -window if both_ways else distance >= 0)
        if self.allowed is not None:
            near = near & self.allowed
            if both_ways:
                near = near | (distance == 0)
        return replace(self, allowed=near)


CAUSAL = Mask(causal=True)
EVERYTHING = Mask(causal=False)


def document_mask(documents_BT: Tensor, *, causal: bool = True) -> Mask:
    """Only within one document, and causal if so asked: `documents_BT` holds a document number for every position."""
    same_BTS = documents_BT[:, :, None] == documents_BT[:, None, :]
    return Mask(causal=causal, allowed=(same_BTS.tril() if causal else same_BTS)[:, None])


def added(allowed: Tensor, dtype: torch.dtype) -> Tensor:
    """What is added to scores: minus infinity where nothing may be seen."""
    return torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill_(~allowed, float("-inf"))


def padding_mask(real_BS: Tensor) -> Mask:
    """Every query sees all keys that are no padding; `real_BS` is True where there is a token."""
    return EVERYTHING if bool(real_BS.all()) else Mask(causal=False, allowed=real_BS[:, None, None])


def cached_mask(starts_B: Tensor, num_queries: int, num_keys: int) -> Mask:
    """Causal against a cache: query t of row b stands at position starts_B[b] + t and sees all keys up to itself."""
    queries_BT = starts_B[:, None] + torch.arange(num_queries, device=starts_B.device)
    keys_S = torch.arange(num_keys, device=starts_B.device)
    return Mask(causal=False, allowed=(keys_S <= queries_BT[:, :, None])[:, None])
