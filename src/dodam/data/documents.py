"""Reading a data folder: its manifest, and the documents of a split one after another.

In: the folder `dodam prepare` wrote. Out: its rows {"id", "text", "source", "language", "license", "bytes"},
streamed in their order.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from dodam import files
from dodam.errors import FolderError

FORMAT = 1
COLUMNS = ("id", "text", "source", "language", "license", "bytes")
MEND = "Write it again with `dodam prepare`."

Split = Literal["train", "validation"]


def read_manifest(data_dir: str | Path) -> dict[str, Any]:
    """The manifest of a data folder. FolderError when there is none, it is torn, or of a newer format."""
    path = Path(data_dir) / "manifest.json"
    if not path.is_file():
        raise FolderError(
            "is not a data folder (no manifest.json)", where=str(data_dir), mend="Make one with `dodam prepare`."
        )
    manifest = files.read_json(path)
    files.check_format(manifest.get("format"), FORMAT, path)
    return manifest


def read_documents(data_dir: str | Path, split: Split) -> Iterator[dict[str, Any]]:
    """The documents of a split, streamed. FolderError names a file that is missing or torn."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for name in read_manifest(data_dir)["splits"][split]["files"]:
        path = Path(data_dir) / name
        if not path.is_file():
            raise FolderError("is missing", where=str(path), mend=MEND)
        try:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=1024, columns=list(COLUMNS)):
                    yield from batch.to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise FolderError(f"is torn ({error})", where=str(path), mend=MEND) from None
