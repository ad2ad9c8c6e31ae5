"""Several linear projections of one input.

D width of the input, the outputs may differ in width.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dodam.nn import float8

PRODUCTS: dict[Any, Callable[[Tensor, Tensor, Tensor | None], Tensor]] = {
    nn.Linear: F.linear,
    float8.Float8Linear: float8.linear,
}


def project(x: Tensor, layers: Sequence[nn.Module]) -> tuple[Tensor, ...]:
    """Each layer applied to x [.., D]. While training, plain layers are done as one product.

    Their weights are small beside the activations, and one wide product with one input gradient is faster than several
    narrow ones."""
    # No subclass that adds something, no adapter, and no layer of which other ranks have a part.
    kind = type(layers[0]) if type(layers[0]) in PRODUCTS else None
    plain: list[Any] = [layer for layer in layers if type(layer) is kind and not hasattr(layer.weight, "placements")]
    biases: list[Tensor] = [layer.bias for layer in plain if layer.bias is not None]
    if not torch.is_grad_enabled() or len(plain) < len(layers) or len(biases) not in (0, len(layers)):
        return tuple(layer(x) for layer in layers)
    weight, bias = torch.cat([layer.weight for layer in plain]), torch.cat(biases) if biases else None
    return PRODUCTS[kind](x, weight, bias).split([layer.out_features for layer in plain], dim=-1)
