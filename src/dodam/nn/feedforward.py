"""The gated feed-forward of a block (Shazeer 2020, SwiGLU): down(silu(gate(x)) * up(x)).

D width, F feed-forward width.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from dodam.nn.linear import project


class GatedFeedForward(nn.Module):
    """[.., D] -> [.., D] through two parallel projections to F, one of them the gate."""

    def __init__(self, width: int, hidden_size: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, hidden_size, bias=False)
        self.up = nn.Linear(width, hidden_size, bias=False)
        self.down = nn.Linear(hidden_size, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = project(x, (self.gate, self.up))
        return self.down(F.silu(gate) * up)
