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
    # No subclass that adds something, no adapter, and no layer of which other ranks have a part.
    plain = [layer for layer in layers if type(layer) is nn.Linear and not hasattr(layer.weight, "placements")]
    biases: list[Tensor] = [layer.bias for layer in plain if layer.bias is not None]
    if not torch.is_grad_enabled() or len(plain) < len(layers) or len(biases) not in (0, len(layers)):
        return tuple(layer(x) for layer in layers)
    weight, bias = torch.cat([layer.weight for layer in plain]), torch.cat(biases) if biases else None
    return F.linear(x, weight, bias).split([layer.out_features for layer in plain], dim=-1)
