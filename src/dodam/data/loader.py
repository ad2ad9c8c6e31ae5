"""Rows of token ids from memory-mapped token files. The only state is one integer: how many rows were taken.

In come token files (shards.TokenFile) with weights, out go rows [count, context + 1] in the order of mixture.py. Rows
follow one another through a source's token stream and the last row reaches back over the one before it: nothing is
cropped and nothing is padded. Sources shorter than a row are put together.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import torch

from dodam.data.batch import IGNORED, TokenBatch
from dodam.data.mixture import Mixture
from dodam.errors import DataError


class TokenSource(Protocol):
    """What the loader needs of a token file."""

    @property
    def name(self) -> str: ...
    @property
    def tokens(self) -> np.ndarray: ...
    @property
    def weight(self) -> float: ...
    @property
    def epochs(self) -> float: ...


Source = TypeVar("Source", bound=TokenSource)


@dataclass(frozen=True)
class Joined:
    """Sources too short for a row of their own, one after another."""

    name: str
    tokens: np.ndarray
    weight: float
    epochs: float


def grouped(sources: Sequence[Source], context: int) -> list[list[Source]]:
    """Each source that is read at all by itself; last, and put together, those of one weight and one limit that are
    shorter than a row."""
    wanted = [source for source in sources if source.weight > 0]
    short: dict[tuple[float, float], list[Source]] = {}
    for source in wanted:
        if len(source.tokens) <= context:
            short.setdefault((source.weight, source.epochs), []).append(source)
    return [*([source] for source in wanted if len(source.tokens) > context), *short.values()]


def joined(group: Sequence[TokenSource]) -> TokenSource:
    """One source, or several of one weight and one limit as one."""
    if len(group) == 1:
        return group[0]
    tokens = np.concatenate([one.tokens for one in group])
    return Joined(", ".join(one.name for one in group), tokens, group[0].weight, group[0].epochs)


class RowLoader(Mixture):
    """All rows of several sources, mixed by weight. DataError where there is not text enough for one."""

    def __init__(self, sources: Sequence[TokenSource], context: int, seed: int) -> None:
        wanted = [joined(group) for group in grouped(sources, context)]
        self.sources = [source for source in wanted if len(source.tokens) > context]
        left_out = [source for source in wanted if len(source.tokens) <= context]
        self.num_left_out = sum(len(source.tokens) for source in left_out)
        if not self.sources:
            longest = max((len(source.tokens) for source in wanted), default=0)
            raise DataError(
                f"the corpus is smaller than one row: {longest} tokens, a row needs {context + 1}",
                mend="Add text, or lower --context.",
            )
        for source in left_out:
            print(f"{source.name}: left out, {len(source.tokens)} tokens are less than a row.", file=sys.stderr)
        num_rows = [-(-(len(source.tokens) - 1) // context) for source in self.sources]
        super().__init__(self.sources, num_rows, context, seed)

    @property
    def wasted(self) -> float:
        """Share of the tokens read twice, as a source's last row reaches back, or never, as they make no row."""
        needed = sum(len(source.tokens) - 1 for source in self.sources)
        read_twice = sum(self.num_rows) * self.context - needed
        return (read_twice + self.num_left_out) / (needed + self.num_left_out)

    @property
    def told(self) -> str:
        return f"{self.wasted:.2%} of the tokens read twice or never"

    @property
    def card(self) -> dict[str, float]:
        return {"tokens read twice or never": round(self.wasted, 6)}

    def rows(self, first: int, count: int) -> np.ndarray:
        out = np.empty((count, self.context + 1), dtype=np.int64)
        for index in range(count):
            source, row = self.locate(first + index)
            tokens = self.sources[source].tokens
            start = min(row * self.context, len(tokens) - self.context - 1)
            out[index] = tokens[start : start + self.context + 1]
        return out

    def documents(self, first: int, count: int) -> None:
        return None


def token_batch(
    rows: np.ndarray, *, document_mask: bool = False, bos: int = -1, documents: np.ndarray | None = None
) -> TokenBatch:
    """Rows [B, T + 1] -> a batch that predicts each next token; with `documents` (`Mixture.documents`) only where it is
    of the same document, and no padding.

    With `document_mask`, attention and positions start anew with every document, else at every `bos`."""
    tensor = torch.from_numpy(rows)
    ids, labels = tensor[:, :-1].contiguous(), tensor[:, 1:].contiguous()
    starts = ids == bos
    if documents is not None:
        numbers = torch.from_numpy(documents)
        same = numbers[:, 1:] == numbers[:, :-1]
        labels = labels.where(same & (numbers[:, 1:] > 0), IGNORED)
        starts = torch.cat([torch.ones_like(same[:, :1]), ~same[:, :-1]], dim=1)
    if not document_mask:
        return TokenBatch(ids, labels)
    places = torch.arange(ids.shape[1]).expand_as(ids)
    last_start = torch.where(starts, places, 0).cummax(dim=1).values
    return TokenBatch(ids, labels, documents_BT=starts.cumsum(1), positions_BT=places - last_start)
