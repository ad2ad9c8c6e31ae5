"""Several linear projections of one input.

D width of the input, the outputs may differ in width.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def project(x: Tensor, layers: Sequence[nn.Module]) -> tuple[Tensor, ...]:
    """Each layer applied to x [.., D]. While training, plain layers are done as one product.

    Their weights are small beside the activations, and one wide product with one input gradient is faster than several
    narrow ones."""
    weights = [layer.weight for layer in layers if isinstance(layer, nn.Linear) and plain(layer)]
    if torch.is_grad_enabled() and len(weights) == len(layers):
        return F.linear(x, torch.cat(weights)).split([weight.shape[0] for weight in weights], dim=-1)
    return tuple(layer(x) for layer in layers)


def plain(layer: nn.Linear) -> bool:
    """Whether a layer is nothing but a product: no bias, no subclass that adds to it."""
    return type(layer) is nn.Linear and layer.bias is None
