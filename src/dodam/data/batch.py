"""The contract between data and objectives: one batch of token ids. B rows, T positions."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

IGNORED = -100  # the label of a position nothing is learned from


@dataclass(frozen=True)
class TokenBatch:
    """`labels_BT` is the token to predict at each position, or -100 where nothing is learned. `documents_BT`
    numbers the
    document of each position where attention must stay within one; `positions_BT` counts from each document's start."""

    ids_BT: Tensor
    labels_BT: Tensor
    documents_BT: Tensor | None = None
    positions_BT: Tensor | None = None

    def to(self, device: str | torch.device) -> "TokenBatch":
        fields = {name: value.to(device) for name, value in vars(self).items() if value is not None}
        return replace(self, **fields)
