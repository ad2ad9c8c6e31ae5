"""The feed-forward of a block: plain (Vaswani et al. 2017, eq. 2) or gated (Shazeer 2020, SwiGLU and its like).

D width, F feed-forward width.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from dodam.nn.linear import project

Activation = Literal["silu", "gelu", "gelu-tanh", "relu"]
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu-tanh": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
}


class GatedFeedForward(nn.Module):
    """[.., D] -> [.., D]: down(activation(gate(x)) * up(x)), both of width F."""

    def __init__(self, width: int, hidden_size: int, activation: Activation = "silu", *, bias: bool = False) -> None:
        super().__init__()
        self.gate = nn.Linear(width, hidden_size, bias=bias)
        self.up = nn.Linear(width, hidden_size, bias=bias)
        self.down = nn.Linear(hidden_size, width, bias=bias)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        gate, up = project(x, (self.gate, self.up))
        return self.down(self.activation(gate) * up)


class FeedForward(nn.Module):
    """[.., D] -> [.., D]: down(activation(up(x)))."""

    def __init__(self, width: int, hidden_size: int, activation: Activation = "gelu", *, bias: bool = True) -> None:
        super().__init__()
        self.up = nn.Linear(width, hidden_size, bias=bias)
        self.down = nn.Linear(hidden_size, width, bias=bias)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.activation(self.up(x)))


def make_feedforward(width: int, hidden_size: int, activation: Activation, *, gated: bool, bias: bool) -> nn.Module:
    """The plain or the gated one."""
    return (GatedFeedForward if gated else FeedForward)(width, hidden_size, activation, bias=bias)
