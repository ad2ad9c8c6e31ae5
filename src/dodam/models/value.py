"""The value model of PPO: how much reward is still to come, told at each position of an answer.

It is put onto a policy under the name `value` while that trains and taken off before it is saved. B rows, T positions,
D width.
"""

from typing import Any

import torch
from torch import Tensor, nn

from dodam.models.decoder import Decoder
from dodam.models.heads import without_language_head
from dodam.nn.mask import CAUSAL, Mask


class ValueModel(nn.Module):
    """A linear head over the policy's hidden states, or over those of a trunk of its own."""

    def __init__(self, width: int, trunk: Decoder | None = None) -> None:
        super().__init__()
        self.trunk = trunk
        self.output = nn.Linear(width, 1)
        nn.init.zeros_(self.output.weight)  # nothing is expected before anything was learned (Ziegler et al. 2019)
        nn.init.zeros_(self.output.bias)

    def forward(
        self,
        hidden_BTD: Tensor,
        ids_BT: Tensor,
        dtype: torch.dtype,
        *,
        positions_BT: Tensor | None = None,
        mask: Mask = CAUSAL,
    ) -> Tensor:
        """Values [B, T], fp32; `hidden_BTD` are the policy's, which a trunk of its own does not need: it computes its
        own, in `dtype`."""
        if self.trunk is not None:
            with torch.autocast(ids_BT.device.type, dtype, enabled=dtype != torch.float32):
                hidden_BTD = self.trunk(ids_BT, positions_BT=positions_BT, mask=mask)
        return self.output(hidden_BTD.float()).squeeze(-1)


def add_value(policy: Any, trunk: Decoder | None = None) -> None:
    """Put a value model onto a policy: with a trunk, a decoder that is used up, or over the policy's own."""
    if trunk is not None:
        without_language_head(trunk)
        if hasattr(trunk, "classifier"):
            del trunk.classifier
    width = policy.config.width if trunk is None else trunk.config.width
    policy.value = ValueModel(width, trunk).to(policy.embedding.weight.device)


def take_off_value(policy: Any) -> None:
    """The policy as it was before `add_value`, its own weights as they are now."""
    del policy.value
