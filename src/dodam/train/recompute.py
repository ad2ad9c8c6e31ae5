"""Blocks whose activations are not kept for the backward pass but computed a second time there (activation
checkpointing, Chen et al. 2016): less memory, the same numbers, up to a third more work.

In comes a model, as it trains, and a share of its blocks; the model then runs these so.
"""

import math
from collections.abc import Callable, Collection
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def recompute_blocks(model: Any, share: float) -> None:
    """Run a share of the blocks of each stack so, spread evenly over it. Goes with compiled blocks, with sharding and
    with pipelines, if it is done after the one and before the others."""
    chosen: list[nn.Module] = []
    for module in model.modules():
        if isinstance(blocks := getattr(module, "blocks", None), nn.ModuleList):
            chosen += [block for block, again in zip(blocks, spread(len(blocks), share), strict=True) if again]
    for module, name in product(model.modules(), ("run_block", "run_decoder_block")):
        if hasattr(module, name):
            setattr(module, name, partial(run_again, getattr(module, name), chosen))


def spread(count: int, share: float) -> list[bool]:
    """Which of so many blocks: every second one for a half, the first ones of each stretch for other shares, and at
    least one for any."""
    return [math.ceil((index + 1) * share - 1e-9) > math.ceil(index * share - 1e-9) for index in range(count)]


def run_again(run: Callable[..., Tensor], chosen: Collection[nn.Module], block: nn.Module, *inputs: Any) -> Tensor:
    """In place of `run(block, *inputs)`. What is dropped by chance is so both times."""
    if block not in chosen or not torch.is_grad_enabled():
        return run(block, *inputs)
    return checkpoint(run, block, *inputs, use_reentrant=False)
