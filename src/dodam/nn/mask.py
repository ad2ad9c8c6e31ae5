"""Who may look at whom, as one value that a model builds once and hands to every block.

B batch, T query positions, S key positions. `allowed` is True where a query may see a key.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mask:
    """`causal`: queries and keys are the same positions and none sees a later one; kernels skip what comes after.
    `allowed`: bool, broadcastable to [B, 1, T, S]; where given it says all, the triangle of a causal mask included."""

    causal: bool
    allowed: Tensor | None = None


CAUSAL = Mask(causal=True)


def document_mask(documents_BT: Tensor) -> Mask:
    """Causal, and only within one document: `documents_BT` holds a document number for every position."""
    same_BTS = documents_BT[:, :, None] == documents_BT[:, None, :]
    return Mask(causal=True, allowed=same_BTS.tril()[:, None])


def cached_mask(starts_B: Tensor, num_queries: int, num_keys: int) -> Mask:
    """Causal against a cache: query t of row b stands at position starts_B[b] + t and sees all keys up to itself."""
    queries_BT = starts_B[:, None] + torch.arange(num_queries, device=starts_B.device)
    keys_S = torch.arange(num_keys, device=starts_B.device)
    return Mask(causal=False, allowed=(keys_S <= queries_BT[:, :, None])[:, None])
