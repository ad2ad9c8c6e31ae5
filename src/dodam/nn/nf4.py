"""4-bit NormalFloat with doubly quantised scales (Dettmers et al. 2023, QLoRA, section 3): frozen matrices in
4.13 bits a weight, for LoRA to be trained beside them.

In comes a matrix, out come codes, two in a byte, and what is needed to turn them back. N weights in blocks of 64, each
with a scale; scales in groups of 256. I inputs, O outputs of a layer.
"""

from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BLOCK = 64
GROUP = 256
LARGEST = 127  # of an int8


def normal_float() -> list[float]:
    """The 16 values a code can stand for, rising from -1 to 1: quantiles of the normal distribution, spread evenly over
    the probability on either side of zero, eight above it, seven below, and zero itself (section 3; appendix E)."""
    # Half a step is left beyond the outermost quantile. Are there 15 or 16 steps? The mean of the two.
    outermost = 1 - (1 / (2 * 15) + 1 / (2 * 16)) / 2

    def quantiles(count: int) -> list[float]:
        """`count` of them, from the outermost inwards; a probability of 1/2 would be the next."""
        return [NormalDist().inv_cdf(outermost + (0.5 - outermost) * step / count) for step in range(count)]

    above, below = quantiles(8), quantiles(7)
    values = [*(-value for value in below), 0.0, *reversed(above)]
    return [value / above[0] for value in values]


VALUES = torch.tensor(normal_float(), dtype=torch.float32)
BOUNDS = (VALUES[1:] + VALUES[:-1]) / 2  # between the values: below the first is code 0
PAIRS = torch.cartesian_prod(VALUES, VALUES)  # for each byte the values of its two codes, [256, 2]


@cache
def pairs_on(device: torch.device) -> Tensor:
    """`PAIRS` on a device, copied there once."""
    return PAIRS.to(device)


@dataclass(frozen=True)
class Quantized:
    """A matrix in 4-bit NormalFloat. A block's scale is `mean` plus its int8 times its group's step."""

    codes: Tensor
    """uint8 [N / 2], N filled up to whole blocks; the first weight of two in the high half."""
    scales: Tensor
    """int8 [blocks]."""
    steps: Tensor
    """fp32 [groups]."""
    mean: Tensor
    """fp32 []: of all scales."""

    @property
    def num_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in (self.codes, self.scales, self.steps, self.mean))


def quantize(weight: Tensor) -> Quantized:
    """A weight of any shape in 4 bits, each number by the value nearest to it under its block's scale as it is stored.

    Scales are the blocks' largest absolutes. They are all positive, so their mean is taken off before they go into 8
    bits (section 3, double quantisation); those are integers here, which every device has, where the paper has floats:
    a scale is within 1/254 of what the furthest of its group differs from the mean."""
    blocks = F.pad(weight.detach().float().flatten(), (0, -weight.numel() % BLOCK)).view(-1, BLOCK)
    wanted = blocks.abs().amax(1)
    mean = wanted.mean()
    groups = F.pad(wanted - mean, (0, -len(wanted) % GROUP)).view(-1, GROUP)
    steps = groups.abs().amax(1) / LARGEST
    scales = (groups / steps.clamp(min=torch.finfo(torch.float32).tiny)[:, None]).round().to(torch.int8)
    stored = Quantized(torch.empty(0), scales.flatten()[: len(wanted)], steps, mean)
    # A scale of nothing makes every weight of its block nothing, whatever its code.
    relative = blocks / block_scales(stored).clamp(min=torch.finfo(torch.float32).tiny)[:, None]
    codes = torch.bucketize(relative, BOUNDS.to(weight.device)).to(torch.uint8).flatten()
    return Quantized(codes[::2] << 4 | codes[1::2], stored.scales, steps, mean)


def block_scales(stored: Quantized) -> Tensor:
    """What each block's values are multiplied by, fp32 [blocks]."""
    steps = stored.steps.repeat_interleave(GROUP)[: len(stored.scales)]
    return (stored.mean + stored.scales * steps).clamp(min=0.0)


def dequantize(stored: Quantized, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    """The weight that is stood for, rounded once to `dtype`."""
    pairs = F.embedding(stored.codes.int(), pairs_on(stored.codes.device))
    blocks = (pairs.view(-1, BLOCK) * block_scales(stored)[:, None]).to(dtype)
    return blocks.flatten()[: torch.Size(shape).numel()].view(shape)


class Product(torch.autograd.Function):
    """x [.., I] W^T -> [.., O] in x's dtype. W is turned back once forward and once more backward, and never kept; it
    has no gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, codes: Tensor, scales: Tensor, steps: Tensor, mean: Tensor, shape: Any) -> Tensor:
        ctx.save_for_backward(codes, scales, steps, mean)
        ctx.shape = shape
        return F.linear(x, dequantize(Quantized(codes, scales, steps, mean), shape, x.dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        weight_OI = dequantize(Quantized(*ctx.saved_tensors), ctx.shape, gradient.dtype)
        return gradient @ weight_OI, None, None, None, None, None


class Nf4Linear(nn.Module):
    """A frozen linear layer [.., I] -> [.., O] whose matrix is held in 4 bits. It multiplies in what autocast says, or
    in the dtype of what comes in."""

    codes: Tensor
    scales: Tensor
    steps: Tensor
    mean: Tensor

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        stored = quantize(layer.weight)
        for name in ("codes", "scales", "steps", "mean"):
            self.register_buffer(name, getattr(stored, name))
        self.bias = layer.bias
        difference_OI, size = self.weight - layer.weight.detach(), layer.weight.detach().norm()
        self.largest_difference = float(difference_OI.abs().max())
        self.relative_difference = float(difference_OI.norm() / size) if size else 0.0
        """Of the whole matrix, in root mean squares."""

    @property
    def stored(self) -> Quantized:
        return Quantized(self.codes, self.scales, self.steps, self.mean)

    @property
    def weight(self) -> Tensor:
        """The matrix [O, I] in fp32, computed anew each time."""
        return dequantize(self.stored, (self.out_features, self.in_features))

    def product(self, x: Tensor) -> Tensor:
        """W x, without the bias."""
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        shape = (self.out_features, self.in_features)
        return Product.apply(x, self.codes, self.scales, self.steps, self.mean, shape)  # type: ignore[return-value]

    def forward(self, x: Tensor) -> Tensor:
        said = self.product(x)
        return said if self.bias is None else said + self.bias.to(said.dtype)

    def unpacked(self) -> nn.Linear:
        """A plain layer of the matrix that is stood for."""
        layer = nn.Linear(self.in_features, self.out_features, bias=self.bias is not None, device=self.codes.device)
        layer.requires_grad_(False)
        layer.weight.copy_(self.weight)
        if self.bias is not None:
            layer.bias = self.bias
        return layer
