"""Encoders saved without the head that fills masks in, as `transformers` saves a BertModel and as models that make
vectors are: their tensors lack the family's first name too.

In come a family's table and what is stored; out come the same tensors as the family calls them, and a fresh head.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Size, Tensor

from dodam.exchange.mapping import Family, Weight


def prefix_of(table: Sequence[Weight]) -> str:
    """What the names of all but the head's tensors begin with: `bert.`."""
    return table[0].theirs.partition(".")[0] + "."


def with_head(values: Mapping[str, Any], family: Family) -> dict[str, Any]:
    """Their config.json; where it tells of the class without a head, of the one with it."""
    bare = family.architecture.replace("ForMaskedLM", "Model")
    return {**values, "architectures": [family.architecture]} if values.get("architectures") == [bare] else dict(values)


def is_bare(family: Family, table: Sequence[Weight], stored: Mapping[str, Size]) -> bool:
    """Whether an encoder is stored without its head and its first name."""
    prefix = prefix_of(table)
    inside = [weight.theirs.removeprefix(prefix) for weight in table if weight.theirs.startswith(prefix)]
    return family.kind == "encoder" and inside[0] in stored and not any(weight.theirs in stored for weight in table)


def full_shapes(table: Sequence[Weight], stored: Mapping[str, Size], ours: Mapping[str, Tensor]) -> dict[str, Size]:
    """The shapes of the stored tensors as the family calls them, and those of the head that is to come."""
    prefix = prefix_of(table)
    return {f"{prefix}{name}": shape for name, shape in stored.items()} | {
        weight.theirs: ours[weight.parts[0]].shape for weight in head_of(table)
    }


def completed(table: Sequence[Weight], stored: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All tensors as the family calls them: those stored, and a fresh head of their dtype; `ours` has our shapes."""
    prefix = prefix_of(table)
    names = [weight.theirs for weight in table if weight.theirs.startswith(prefix)]
    found = {name: stored[name.removeprefix(prefix)] for name in names}
    dtype, generator = found[names[0]].dtype, torch.Generator().manual_seed(0)
    for weight in head_of(table):
        fresh = torch.zeros(ours[weight.parts[0]].shape)
        if fresh.ndim == 2:
            bound = math.sqrt(3 / fresh.shape[1])
            fresh.uniform_(-bound, bound, generator=generator)
        elif weight.parts[0].endswith("norm.weight"):
            fresh.fill_(1.0)
        found[weight.theirs] = fresh.to(dtype)
    return found


def head_of(table: Sequence[Weight]) -> list[Weight]:
    """The tensors of the head."""
    return [weight for weight in table if not weight.theirs.startswith(prefix_of(table))]
