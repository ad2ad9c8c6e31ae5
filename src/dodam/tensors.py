"""Named tensors on disk, as safetensors: no pickle anywhere. Errors are those of any other file.

One file, or several with an index, as Hugging Face splits large models.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Size, Tensor

from dodam import files
from dodam.errors import FolderError

FILE, INDEX = "model.safetensors", "model.safetensors.index.json"
LARGEST = 5_000_000_000  # bytes in one file of a model
TORN = "The file is torn; write it or fetch it again."


def write_tensors(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file. What the disk refuses is an OSError."""
    try:
        save_file(tensors, path, metadata=metadata)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), str(error)) from None


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file; FolderError when it is torn or cannot be read."""
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise FolderError(f"the weights cannot be read ({error})", where=str(path), mend=TORN) from None


class Made(Mapping[str, Tensor]):
    """Tensors that are made when they are asked for; `sizes` tells how many bytes each will have."""

    def __init__(self, sizes: Mapping[str, int], make: Callable[[str], Tensor]) -> None:
        self.sizes, self.make = sizes, make

    def __getitem__(self, name: str) -> Tensor:
        return self.make(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.sizes)

    def __len__(self) -> int:
        return len(self.sizes)


def write_model_tensors(tensors: Mapping[str, Tensor], folder: Path, largest: int = LARGEST) -> None:
    """Write a model's tensors into a folder: one file, or several of up to `largest` bytes and their index. Those of
    one file are asked for together, and let go once it is written."""

    def write(names: list[str], path: Path) -> None:
        write_tensors({name: tensors[name] for name in names}, path, metadata={"format": "pt"})

    sizes = tensors.sizes if isinstance(tensors, Made) else {name: one.nbytes for name, one in tensors.items()}
    parts: list[list[str]] = [[]]
    room = largest
    for name, size in sizes.items():
        if size > room and parts[-1]:
            parts.append([])
            room = largest
        parts[-1].append(name)
        room -= size
    if len(parts) == 1:
        write(parts[0], folder / FILE)
        return
    index: dict[str, str] = {}
    for number, part in enumerate(parts, start=1):
        name = f"model-{number:05d}-of-{len(parts):05d}.safetensors"
        write(part, folder / name)
        index |= dict.fromkeys(part, name)
    files.write_json(folder / INDEX, {"metadata": {"total_size": sum(sizes.values())}, "weight_map": index})


def has_model_tensors(folder: Path) -> bool:
    """Whether a folder holds a model's weights, in one file or in several."""
    return (folder / FILE).is_file() or (folder / INDEX).is_file()


class ModelTensors(Mapping[str, Tensor]):
    """The tensors of a model folder, each read when it is asked for, so that they are never all in memory twice.

    FolderError when a file is missing, torn or does not hold what the index says."""

    def __init__(self, folder: Path) -> None:
        self.where = folder / FILE
        promised: dict[str, str] = {}
        if not has_model_tensors(folder):
            raise FolderError(f"holds no weights ({FILE})", where=str(folder))
        if not self.where.is_file():
            self.where = folder / INDEX
            promised = files.read_json(self.where).get("weight_map") or {}
            if not promised:
                raise FolderError("holds no weight_map", where=str(self.where), mend=TORN)
        names = sorted(set(promised.values()) or {FILE})
        if absent := [name for name in names if not (folder / name).is_file()]:
            told = f"tells of {', '.join(absent)}, which {'is' if len(absent) == 1 else 'are'} not there"
            raise FolderError(told, where=str(self.where), mend="Fetch what is missing.")
        self.opened = {name: open_tensors(folder / name) for name in names}
        self.places = {key: name for name, file in self.opened.items() for key in file.keys()}  # noqa: SIM118
        if missing := sorted(set(promised) - set(self.places)):
            raise FolderError(f"the files do not hold {missing[:3]}", where=str(self.where), mend=TORN)

    def __getitem__(self, name: str) -> Tensor:
        return self.opened[self.places[name]].get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)

    def shapes(self) -> dict[str, Size]:
        """The shape of every tensor, without reading one."""
        return {name: Size(self.opened[place].get_slice(name).get_shape()) for name, place in self.places.items()}

    def dtypes(self) -> set[str]:
        """The dtypes that are stored, as safetensors calls them: F32, BF16, F16."""
        return {self.opened[place].get_slice(name).get_dtype() for name, place in self.places.items()}


def open_tensors(path: Path) -> Any:
    """A safetensors file, to be read tensor by tensor."""
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise FolderError(f"the weights cannot be read ({error})", where=str(path), mend=TORN) from None
