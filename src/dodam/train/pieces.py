"""Tensors on disk in pieces: every rank writes what it holds of them, and who reads them takes the part it needs.

A file of pieces is a safetensors file whose metadata tells of each tensor where its piece begins in the whole, along
every side, and how large the whole is. A file that tells of nothing holds whole tensors.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dodam import ranks
from dodam.tensors import open_tensors
from dodam.train.distributed import is_sharded, own_part

PLACES = "places"  # the metadata's key


def own_pieces(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Copies of what this rank writes of some tensors, and the metadata of its file. What several ranks hold one of
    them writes, and nobody what is empty."""
    found = {name: own_part(one) for name, one in tensors.items() if writes(one) and own_part(one).numel()}
    places = {name: [begins_of(tensors[name]), list(tensors[name].shape)] for name in found}
    return {name: copied(one) for name, one in found.items()}, {PLACES: json.dumps(places)}


def copied(tensor: Tensor) -> Tensor:
    """A tensor of its own in main memory."""
    return tensor.detach().to("cpu", copy=True).contiguous()


def writes(tensor: Any) -> bool:
    """Whether this rank is the first of those that hold the same part of a tensor: of meshes side by side, each with
    all of the tensor, that of rank 0."""
    if not is_sharded(tensor):
        return not ranks.rank()
    where = tensor.device_mesh.get_coordinate()
    return 0 in tensor.device_mesh.mesh and all(
        one.is_shard() or not at for one, at in zip(tensor.placements, where, strict=True)
    )


def begins_of(tensor: Any) -> list[int]:
    """Where the part that this rank has of a tensor begins, along every side."""
    begins = [0] * tensor.ndim
    if is_sharded(tensor):
        mesh = tensor.device_mesh
        for number, at, one in zip(mesh.shape, mesh.get_coordinate(), tensor.placements, strict=True):
            if one.is_shard():
                assert not begins[one.dim], "a side is cut once"
                size = -(-tensor.shape[one.dim] // number)
                begins[one.dim] = min(size * at, tensor.shape[one.dim])
    return begins


@torch.no_grad()
def put_part(weight: Tensor, draw: Callable[[Tensor], object]) -> None:
    """Draw a whole weight and keep the part of it that this rank has (`models/build.py`, `Put`)."""
    whole, own = torch.empty(weight.shape, dtype=weight.dtype), own_part(weight)
    draw(whole)
    own.copy_(whole[tuple(slice(at, at + size) for at, size in zip(begins_of(weight), own.shape, strict=True))])


class Pieces(Mapping[str, Tensor]):
    """The tensors of some files, whole or in part, each read when it is asked for; those whose names begin with
    `prefix`, without it. FolderError when a file is torn."""

    def __init__(self, paths: Sequence[Path], prefix: str = "") -> None:
        self.prefix = prefix
        self.shapes: dict[str, list[int]] = {}
        self.found: dict[str, list[tuple[Any, list[int], list[int]]]] = {}  # file, where its piece begins, its sizes
        for path in paths:
            file = open_tensors(path)
            places = json.loads((file.metadata() or {}).get(PLACES, "{}"))
            for stored in file.keys():  # noqa: SIM118 - it is no mapping
                if stored.startswith(prefix):
                    name, sizes = stored.removeprefix(prefix), file.get_slice(stored).get_shape()
                    begins, self.shapes[name] = places.get(stored, ([0] * len(sizes), sizes))
                    self.found.setdefault(name, []).append((file, begins, sizes))

    def missing(self) -> list[str]:
        """Tensors of which some part is in no file."""
        held = {name: sum(math.prod(sizes) for _, _, sizes in found) for name, found in self.found.items()}
        return [name for name, shape in self.shapes.items() if held[name] != math.prod(shape)]

    def part(self, name: str, begins: Sequence[int], sizes: Sequence[int]) -> Tensor:
        """The part of a tensor that begins there, along every side, and has these sizes."""
        part: Tensor | None = None
        for file, first, held in self.found[name]:
            if not held:
                return file.get_tensor(self.prefix + name)
            low = [max(begin, at) for begin, at in zip(begins, first, strict=True)]
            high = [min(b + m, a + n) for b, m, a, n in zip(begins, sizes, first, held, strict=True)]
            if any(end <= begin for begin, end in zip(low, high, strict=True)):
                continue
            cut = [slice(begin - at, end - at) for begin, end, at in zip(low, high, first, strict=True)]
            piece = file.get_slice(self.prefix + name)[tuple(cut)]
            if part is None:
                part = torch.empty(*sizes, dtype=piece.dtype)
            part[tuple(slice(b - at, e - at) for b, e, at in zip(low, high, begins, strict=True))] = piece
        return torch.empty(*sizes) if part is None else part

    def __getitem__(self, name: str) -> Tensor:
        return self.part(name, [0] * len(self.shapes[name]), self.shapes[name])

    def __iter__(self) -> Any:
        return iter(self.shapes)

    def __contains__(self, name: object) -> bool:
        return name in self.shapes

    def __len__(self) -> int:
        return len(self.shapes)

    @torch.no_grad()
    def read_into(self, tensors: Mapping[str, Tensor]) -> None:
        """Fill tensors, or the parts of them that this rank has, by their names."""
        for name, tensor in tensors.items():
            own = own_part(tensor)
            if own.numel():
                own.copy_(self.part(name, begins_of(tensor), own.shape))
