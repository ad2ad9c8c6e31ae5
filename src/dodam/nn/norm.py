"""Norms over the last dimension: root mean square (Zhang & Sennrich 2019, eq. 4) and layer norm (Ba et al. 2016)."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NormKind = Literal["rms", "rms-offset", "layer"]
"""`rms-offset` is Gemma's: it multiplies by 1 + weight, so that a weight of zero changes nothing."""


class RMSNorm(nn.Module):
    """x / rms(x) * weight, computed in fp32 whatever comes in; the result has the input's dtype."""

    def __init__(self, dim: int, eps: float = 1e-6, *, offset: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(dim) if offset else torch.ones(dim))
        self.eps, self.offset = eps, offset

    def forward(self, x: Tensor) -> Tensor:
        weight = 1.0 + self.weight.float() if self.offset else self.weight
        return F.rms_norm(x.float(), weight.shape, weight, self.eps).to(x.dtype)


def make_norm(kind: NormKind, dim: int, eps: float, *, bias: bool = True) -> nn.Module:
    """A norm of `dim` features; only a layer norm can have a bias."""
    if kind == "layer":
        return nn.LayerNorm(dim, eps, bias=bias)
    return RMSNorm(dim, eps, offset=kind == "rms-offset")
