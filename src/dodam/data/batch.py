"""The contract between data and objectives: one batch of token ids. B rows, T positions."""

from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np
import torch
from torch import Tensor

IGNORED = -100  # the label of a position nothing is learned from


class Batch(Protocol):
    """What the loop needs of a batch, whatever the objective reads in it."""

    @property
    def num_tokens(self) -> int: ...
    def to(self, device: str | torch.device) -> Self: ...


@dataclass(frozen=True)
class TokenBatch:
    """Rows of tokens and what is to be predicted from them.

    `labels_BT` is the token to predict at each position, or -100 where nothing is learned. `documents_BT` numbers the
    document of each position where attention must stay within one; `positions_BT` counts from each document's start."""

    ids_BT: Tensor
    labels_BT: Tensor
    documents_BT: Tensor | None = None
    positions_BT: Tensor | None = None

    @property
    def num_tokens(self) -> int:
        return self.ids_BT.numel()

    def to(self, device: str | torch.device) -> "TokenBatch":
        fields = {name: value.to(device) for name, value in vars(self).items() if value is not None}
        return replace(self, **fields)

    def split(self, size: int) -> "list[TokenBatch]":
        """The rows in parts of `size`, the last one perhaps smaller."""
        fields = {name: value.split(size) for name, value in vars(self).items() if value is not None}
        return [TokenBatch(**dict(zip(fields, parts, strict=True))) for parts in zip(*fields.values(), strict=True)]


def with_text(packed: TokenBatch, rows: np.ndarray) -> TokenBatch:
    """Packed rows, and under them rows of running text [count, T + 1], each as one document."""
    assert packed.documents_BT is not None and packed.positions_BT is not None
    text = torch.from_numpy(rows)
    positions_BT = torch.arange(text.shape[1] - 1).expand(text.shape[0], -1)
    return TokenBatch(
        ids_BT=torch.cat([packed.ids_BT, text[:, :-1]]),
        labels_BT=torch.cat([packed.labels_BT, text[:, 1:]]),
        documents_BT=torch.cat([packed.documents_BT, torch.ones_like(positions_BT)]),
        positions_BT=torch.cat([packed.positions_BT, positions_BT]),
    )
