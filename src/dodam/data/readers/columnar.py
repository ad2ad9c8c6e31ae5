"""Parquet, Arrow IPC and Feather files, whose texts are always UTF-8; which files of a saved dataset hold its rows."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from dodam.data.readers.packed import readable, seekable
from dodam.data.readers.row import Rows
from dodam.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable

BATCH = 1024  # rows made Python objects at one time
FEATHER_1 = b"FEA1"
DATASET = ("dataset_info.json", "dataset_dict.json", "state.json")  # of rows, of several splits, which files hold them
"""What `save_to_disk` of Hugging Face's datasets writes beside the Arrow files."""


def parquet_rows(path: str, encoding: str) -> Rows:
    """The rows of a Parquet file."""
    import pyarrow.parquet as pq

    with seekable(path) as file, readable(path, "Parquet"):
        try:
            yield from _rows(path, pq.ParquetFile(file).iter_batches(batch_size=BATCH))
        except OSError as error:  # what pyarrow says of a torn page
            raise DataError(f"is no Parquet file, or torn ({error})", where=path) from None


def arrow_rows(path: str, encoding: str) -> Rows:
    """The rows of an Arrow IPC file (Feather) or stream."""
    with seekable(path) as file, readable(path, "Arrow"):
        try:
            yield from _rows(path, _batches(file, path))
        except OSError as error:
            raise DataError(f"is no Arrow file, or torn ({error})", where=path) from None


def _batches(file: BinaryIO, path: str) -> "Iterable[Any]":
    import pyarrow.ipc as ipc

    head = file.read(6)
    file.seek(0)
    if head.startswith(FEATHER_1):
        raise DataError("is of Feather's first format", where=path, mend="Write it again as Parquet or Feather 2.")
    if head != b"ARROW1":
        yield from ipc.open_stream(file)
        return
    reader = ipc.open_file(file)
    for number in range(reader.num_record_batches):
        yield reader.get_batch(number)


def _rows(path: str, batches: "Iterable[Any]") -> Rows:
    number = 0
    for batch in batches:
        for start in range(0, len(batch), BATCH):
            for row in batch.slice(start, BATCH).to_pylist():
                number += 1
                yield f"{path}:{number}", row


def dataset_files(folder: Path) -> list[Path]:
    """The files that hold the rows of a saved dataset, in their order; none where the folder is no such dataset."""
    try:
        named = json.loads((folder / "state.json").read_text(encoding="utf-8"))["_data_files"]
        return [folder / Path(one["filename"]).name for one in named]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    if (folder / "dataset_info.json").is_file():
        return [file for file in sorted(folder.glob("*.arrow")) if not file.name.startswith("cache-")]
    return []


def dataset_of(file: Path) -> Path | None:
    """The folder of the saved dataset a file belongs to, the outermost where a dataset has several splits."""
    folder = file.absolute().parent
    if not (folder / "dataset_info.json").is_file():
        return None
    return folder.parent if (folder.parent / "dataset_dict.json").is_file() else folder
