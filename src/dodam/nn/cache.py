"""The key/value cache of running sequences: a plain value that is passed into a model, never hidden inside it.

L layers, B rows (sequences), K key/value heads, S capacity (positions), E head width.
Running sequences occupy the first rows; when one ends, the last row moves into its place (`move`), so that a step over
all of them is a view and never a copy.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class CacheShape(Protocol):
    """What a model config must say for a cache to be built."""

    @property
    def depth(self) -> int: ...
    @property
    def kv_heads(self) -> int: ...
    @property
    def head_dim(self) -> int: ...


@dataclass(frozen=True)
class Cache:
    """Keys and values of every layer, each [B, K, S, E]."""

    keys: list[Tensor]
    values: list[Tensor]

    @classmethod
    def empty(
        cls,
        config: CacheShape,
        rows: int,
        capacity: int,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> "Cache":
        """Room for `rows` sequences of `capacity` positions."""
        shape = (rows, config.kv_heads, capacity, config.head_dim)
        return cls(
            keys=[torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.depth)],
            values=[torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.depth)],
        )

    @property
    def num_rows(self) -> int:
        return self.keys[0].shape[0]

    @property
    def capacity(self) -> int:
        return self.keys[0].shape[2]

    def rows(self, first: int, last: int) -> "Cache":
        """The rows first..last-1 as a view: writing to it writes to this cache."""
        return Cache([k[first:last] for k in self.keys], [v[first:last] for v in self.values])

    def move(self, source: int, target: int) -> None:
        """Copy row `source` over row `target`."""
        for tensor in (*self.keys, *self.values):
            tensor[target].copy_(tensor[source])

    def reorder(self, sources_R: Tensor, length: int) -> None:
        """Row r becomes what row sources_R[r] was, of the first `length` positions; rows after the last r stay."""
        for tensor in (*self.keys, *self.values):
            tensor[: len(sources_R), :, :length] = tensor[sources_R, :, :length]

    def layer(self, index: int, positions_BT: Tensor, length: int) -> "LayerCache":
        """One layer's keys and values, with where this step's tokens go."""
        return LayerCache(self.keys[index], self.values[index], positions_BT, length)


@dataclass(frozen=True)
class LayerCache:
    """What one attention layer needs of the cache in one step: new tokens go to `positions_BT`, the first `length`
    positions are looked at."""

    keys: Tensor
    values: Tensor
    positions_BT: Tensor
    length: int

    def append(self, keys_BKTE: Tensor, values_BKTE: Tensor) -> tuple[Tensor, Tensor]:
        """Write the new keys and values; return all that is looked at, each [B, K, length, E]."""
        rows_B1 = torch.arange(self.positions_BT.shape[0], device=self.positions_BT.device)[:, None]
        self.keys[rows_B1, :, self.positions_BT] = keys_BKTE.transpose(1, 2).to(self.keys.dtype)
        self.values[rows_B1, :, self.positions_BT] = values_BKTE.transpose(1, 2).to(self.values.dtype)
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]
