"""Named tensors on disk, as safetensors: no pickle anywhere. Errors are those of any other file."""

import re
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from dodam.errors import FolderError


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
        mend = "The file is torn; write it again."
        raise FolderError(f"the weights cannot be read ({error})", where=str(path), mend=mend) from None
