"""Dropout: numbers left out by chance while training (Srivastava et al. 2014), with chance that costs little on a CPU.

torch draws a float for every number there, one after the other; here 64 drawn bits decide for four numbers.
"""

import torch
from torch import Tensor, nn

STEPS = 2**16  # values of the 16 bits that decide for one number
NUMBERS = 4  # decided for by 64 bits


class Dropout(nn.Dropout):
    """As `torch.nn.Dropout`, whose share `p` is kept to 1 / 65,536; the same seed draws other numbers than there."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or not self.p:
            return input
        if input.device.type != "cpu" or torch.compiler.is_compiling():  # a compiler fuses torch's own
            return super().forward(input)
        return input * kept(input, self.p)


def kept(like: Tensor, share: float) -> Tensor:
    """Of the shape and type of `like`: 0 for a share of the numbers, 1 / (1 - share) for the others."""
    words = torch.empty(-(-like.numel() // NUMBERS), dtype=torch.int64).random_(-(2**63), None)
    bits = words.view(torch.int16)[: like.numel()].view(like.shape)
    threshold = round(share * STEPS) - STEPS // 2
    return (bits >= threshold).to(like.dtype).div_(1 - share)


def set_dropout(model: nn.Module, share: float) -> None:
    """Drop so much wherever the model may drop, also in one that was loaded without."""
    for module in model.modules():
        if isinstance(module, Dropout):
            module.p = share
