"""Context parallel: neighbouring ranks learn from the same rows, each from some of their positions.

In comes a batch as every one of them has it, whole; out comes this rank's section of it. Of n ranks each has two
stretches of a row's 2 n, the r-th from the front and the r-th from the back, so that all have as much to look back on.

B rows, T positions, P of them this rank's.
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
from dodam.nn.sections import Section
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
    return torch.cat([stretches[rank], stretches[2 * number - 1 - rank]])


def section_of(batch: Any) -> Any:
    """This rank's section of a batch of whole rows, which a decoder learns."""
    if ranks.context() == 1:
        return batch
    assert isinstance(batch, TokenBatch), "sections are cut of rows of tokens"
    (B, T), device = batch.ids_BT.shape, batch.ids_BT.device
    number = ranks.context()
    own_P = places(T, number, ranks.rank() % number).to(device)
    all_T = torch.cat([places(T, number, rank) for rank in range(number)]).to(device)
    allowed = (all_T <= own_P[:, None])[None, None]
    if batch.documents_BT is not None:
        documents_BT = batch.documents_BT
        allowed = allowed & (documents_BT[:, own_P, None] == documents_BT[:, None, all_T])[:, None]
    positions_BT = torch.arange(T, device=device).expand(B, T) if batch.positions_BT is None else batch.positions_BT
    return SectionBatch(
        ids_BT=batch.ids_BT[:, own_P],
        labels_BT=batch.labels_BT[:, own_P],
        positions_BT=positions_BT[:, own_P],
        mask=Mask(causal=True, section=Section(neighbours(), allowed)),
    )
