"""Linear layers that multiply in 8 bits while they learn: what is read and the matrix with 4 bits of exponent (e4m3),
gradients with 5 (e5m2), each scaled so that its largest number is the largest there is (Micikevicius et al. 2022).

M rows, I inputs, O outputs, K what is summed over.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

VALUES, GRADIENTS = torch.float8_e4m3fn, torch.float8_e5m2
GRAIN = 16  # sizes of a product are multiples of it
LEAST = (8, 9)  # CUDA capability: Ada and Hopper


def supported(device: str) -> bool:
    """Whether a device multiplies in 8 bits. A CPU does, but slower than in bfloat16."""
    return device == "cpu" or (device == "cuda" and torch.cuda.get_device_capability() >= LEAST)


def use_float8(model: nn.Module) -> int:
    """Have the plain linear layers of all blocks multiply so; how many there are. Layers whose sizes are no multiples
    of 16 stay as they are, and so do names, weights and what is computed without gradients."""
    changed = 0
    for name, module in model.named_modules():
        sizes = (module.in_features, module.out_features) if type(module) is nn.Linear else (1,)
        if "blocks" in name.split(".") and not any(size % GRAIN for size in sizes):
            module.__class__ = Float8Linear
            changed += 1
    return changed


class Float8Linear(nn.Linear):
    """[.., I] -> [.., O], in bfloat16 when it learns."""

    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight, self.bias) if torch.is_grad_enabled() else super().forward(input)


def linear(x: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
    """As `F.linear`, but multiplied in 8 bits: [.., I] -> [.., O] in bfloat16."""
    x_MI = x.reshape(-1, x.shape[-1])
    M = x_MI.shape[0]
    out_MO = Product.apply(F.pad(x_MI, (0, 0, 0, -M % GRAIN)), weight_OI)[:M]
    out = out_MO.view(*x.shape[:-1], weight_OI.shape[0])
    return out if bias_O is None else out + bias_O.to(out.dtype)


class Product(torch.autograd.Function):
    """x w^T; what is kept for the way back takes 8 bits too."""

    @staticmethod
    def forward(ctx: Any, x_MI: Tensor, weight_OI: Tensor) -> Tensor:
        (x, x_scale), (weight, weight_scale) = scaled(x_MI, VALUES), scaled(weight_OI, VALUES)
        ctx.save_for_backward(x, x_scale, weight, weight_scale)
        ctx.dtypes = x_MI.dtype, weight_OI.dtype
        # Sums of the forward pass bear less precision than those that weights are learned from.
        return product(x, x_scale, weight, weight_scale, fast=x.is_cuda)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, x_scale, weight, weight_scale = ctx.saved_tensors
        grad, scale = scaled(grads[0], GRADIENTS)
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            of_x = product(grad, scale, weight.t().contiguous(), weight_scale).to(ctx.dtypes[0])
        if ctx.needs_input_grad[1]:
            of_weight = product(grad.t().contiguous(), scale, x.t().contiguous(), x_scale).to(ctx.dtypes[1])
        return of_x, of_weight


def product(a_MK: Tensor, a_scale: Tensor, b_OK: Tensor, b_scale: Tensor, *, fast: bool = False) -> Tensor:
    """a b^T of scaled matrices, [M, O] in bfloat16."""
    return torch._scaled_mm(
        a_MK, b_OK.t(), scale_a=a_scale, scale_b=b_scale, out_dtype=torch.bfloat16, use_fast_accum=fast
    )


def scaled(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """A tensor in 8 bits, and what it is to be multiplied with."""
    most = torch.finfo(dtype).max
    largest = x.detach().abs().amax().float().clamp(min=1e-12)
    return (x.float() * (most / largest)).clamp(-most, most).to(dtype), largest / most
