"""A GGUF file read back: metadata at once, tensors when they are asked for.

The `gguf` library's reader makes several arrays of every token, which takes a minute for a large vocabulary; this one
goes through the header once. Versions 2 and 3, little-endian.
"""

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf.constants import GGML_QUANT_SIZES, GGUF_DEFAULT_ALIGNMENT, GGMLQuantizationType
from gguf.quants import dequantize
from torch import Tensor

from dodam.errors import FolderError

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
"""Numbers of the types of values."""


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a file, its bytes where they lie."""

    kind: GGMLQuantizationType
    shape: tuple[int, ...]
    data: np.ndarray

    def values(self) -> Tensor:
        """The tensor in fp32."""
        return torch.from_numpy(dequantize(self.data, self.kind).astype(np.float32))


class Cursor:
    """Goes through the header of a file, value after value."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.place = data, 0

    def take(self, form: str) -> Any:
        """The next values in `struct`'s notation: one of them, or a tuple."""
        found = struct.unpack_from(f"<{form}", self.data, self.place)
        self.place += struct.calcsize(f"<{form}")
        return found[0] if len(found) == 1 else found

    def string(self) -> str:
        length = self.take("Q")
        text = self.data[self.place : self.place + length]
        if len(text) < length:
            raise ValueError("it ends within a text")
        self.place += length
        return text.decode()

    def value(self, kind: int) -> Any:
        if kind == STRING:
            return self.string()
        if kind != ARRAY:
            return self.take(SCALARS[kind])
        kind, count = self.take("IQ")
        if kind in SCALARS:
            whole = self.take(f"{count}{SCALARS[kind]}")
            return [whole] if count == 1 else list(whole)
        return [self.value(kind) for _ in range(count)]


def open_gguf(path: str | Path) -> tuple[dict[str, Any], dict[str, StoredTensor]]:
    """Metadata and tensors of a file. FolderError when it is not there, torn or something else."""
    try:
        with Path(path).open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return parse(data)
    except (OSError, ValueError, LookupError, OverflowError, RecursionError, struct.error) as error:
        what = f"cannot be read as GGUF ({error})"
        raise FolderError(what, where=str(path), mend="Write it again.") from None


def parse(data: mmap.mmap) -> tuple[dict[str, Any], dict[str, StoredTensor]]:
    """The same of a file's bytes."""
    cursor = Cursor(data)
    if data[:4] != b"GGUF":
        raise ValueError("it does not begin with GGUF")
    _, version, num_tensors, num_values = cursor.take("IIQQ")
    if version not in (2, 3):
        raise ValueError(f"it is of version {version}")
    metadata: dict[str, Any] = {}
    for _ in range(num_values):
        name = cursor.string()
        metadata[name] = cursor.value(cursor.take("I"))
    places = {}
    for _ in range(num_tensors):
        name = cursor.string()
        lengths = [cursor.take("Q") for _ in range(cursor.take("I"))]
        places[name] = (tuple(reversed(lengths)), *cursor.take("IQ"))
    alignment = metadata.get("general.alignment", GGUF_DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or alignment < 1:
        raise ValueError(f"its alignment is {alignment!r}")
    start = -(-cursor.place // alignment) * alignment
    tensors = {}
    for name, (shape, number, offset) in places.items():
        kind = GGMLQuantizationType(number)
        block, size = GGML_QUANT_SIZES[kind]
        row = shape[-1] // block * size
        found = np.frombuffer(data, np.uint8, count=math.prod(shape[:-1]) * row, offset=start + offset)
        tensors[name] = StoredTensor(kind, shape, found.reshape(*shape[:-1], row))
    return metadata, tensors
