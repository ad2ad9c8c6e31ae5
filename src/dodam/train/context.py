"""Context parallel: neighbouring ranks learn from the same rows, each from some of their positions.

In comes a batch as every one of them has it, whole; out comes this rank's section of it (`nn/sections.py`).

B rows, T positions, P of them this rank's, in two stretches.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from dodam import ranks
from dodam.data.batch import TokenBatch
from dodam.errors import UsageError
from dodam.nn.mask import Mask
from dodam.nn.sections import Section, stretches_of
from dodam.train import distributed


@dataclass(frozen=True)
class SectionBatch(TokenBatch):
    """Some positions of rows, with what they may look at in all of them."""

    mask: Mask | None = None


@cache
def neighbours() -> Any:
    """The group of the ranks that have sections of this rank's rows. All ranks ask for it at the same time."""
    number = ranks.context()
    groups = [distributed.group_of(list(range(first, first + number))) for first in range(0, ranks.world(), number)]
    return groups[ranks.replica()]


def places(length: int, number: int, rank: int) -> Tensor:
    """Which positions of rows of this length a rank has. UsageError where they cannot be divided so."""
    if length % (2 * number):
        what = f"rows of {length} tokens cannot be shared out among {number} ranks"
        raise UsageError(what, where="--parallel.context", mend=f"Give a --context that {2 * number} divides.")
    stretches = torch.arange(length).chunk(2 * number)
    return torch.cat([stretches[one] for one in stretches_of(number, rank)])


def section_of(batch: Any) -> Any:
    """This rank's section of a batch of whole rows, which a decoder learns."""
    if ranks.context() == 1:
        return batch
    assert isinstance(batch, TokenBatch), "sections are cut of rows of tokens"
    (B, T), device = batch.ids_BT.shape, batch.ids_BT.device
    own_P = places(T, ranks.context(), ranks.rank() % ranks.context()).to(device)
    first, second = (seen_from(stretch, batch.documents_BT) for stretch in own_P.chunk(2))
    positions_BT = torch.arange(T, device=device).expand(B, T) if batch.positions_BT is None else batch.positions_BT
    return SectionBatch(
        ids_BT=batch.ids_BT[:, own_P],
        labels_BT=batch.labels_BT[:, own_P],
        positions_BT=positions_BT[:, own_P],
        mask=Mask(causal=True, section=Section(neighbours(), (first, second))),
    )


def seen_from(stretch_L: Tensor, documents_BT: Tensor | None) -> Tensor:
    """Which positions up to its end a stretch of a row may look at: those before, and of the same document where rows
    have several. [1 or B, 1, L, keys]."""
    keys = torch.arange(int(stretch_L[-1]) + 1, device=stretch_L.device)
    allowed = (keys <= stretch_L[:, None])[None, None]
    if documents_BT is None:
        return allowed
    return allowed & (documents_BT[:, stretch_L, None] == documents_BT[:, None, keys])[:, None]
