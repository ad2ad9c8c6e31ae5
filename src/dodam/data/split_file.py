"""One Parquet file of a split. In: batches of documents. Out: the file, and the counts that the manifest tells."""

from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dodam import files
from dodam.data import work
from dodam.data.decision import num_characters
from dodam.data.documents import COLUMNS

if TYPE_CHECKING:
    import pyarrow as pa

LENGTHS = tuple(round(10 ** (step / 4)) for step in range(29))
"""Borders of the classes of length: 1 to 10 million characters, four a factor of ten; longer ones are in the last."""


def schema(*, places: bool = False) -> "pa.Schema":
    """The columns of a data folder; with `places`, those of a batch on its way (decision.py)."""
    import pyarrow as pa

    columns = [(name, pa.int64() if name == "bytes" else pa.string()) for name in COLUMNS]
    return pa.schema([*columns, ("place", pa.int64())] if places else columns)


class SplitFile:
    """Appends batches, in row groups of about `group_bytes` of text. The file is opened in `opened` with the first of
    them, and in its place once that is closed; for no documents there is none, unless `needed`."""

    def __init__(self, path: Path, group_bytes: int, opened: ExitStack, *, needed: bool) -> None:
        self.path, self.group_bytes, self.opened, self.needed = path, group_bytes, opened, needed
        self.held: list[pa.RecordBatch] = []
        self.num_held = 0
        self.documents: Counter[str] = Counter()  # by source
        self.bytes: Counter[str] = Counter()
        self.languages: Counter[str] = Counter()  # bytes by language
        self.lengths = [0] * (len(LENGTHS) - 1)  # documents by class of length
        self.writer: Any = None

    def add(self, batch: "pa.RecordBatch") -> None:
        if batch.num_rows:
            self._count(batch)
            self.held.append(batch.select(list(COLUMNS)))
        if self.num_held >= self.group_bytes:
            self.flush()

    def _count(self, batch: "pa.RecordBatch") -> None:
        import numpy as np
        import pyarrow as pa

        table = pa.Table.from_batches([batch])
        for row in table.group_by("source").aggregate([("bytes", "count"), ("bytes", "sum")]).to_pylist():
            self.documents[row["source"]] += row["bytes_count"]
            self.bytes[row["source"]] += row["bytes_sum"]
            self.num_held += row["bytes_sum"]
        for row in table.group_by("language").aggregate([("bytes", "sum")]).to_pylist():
            self.languages[row["language"]] += row["bytes_sum"]
        classes = np.searchsorted(LENGTHS, num_characters(batch), side="right") - 1
        classes = np.clip(classes, 0, len(self.lengths) - 1)
        self.lengths = (np.bincount(classes, minlength=len(self.lengths)) + self.lengths).tolist()

    def flush(self) -> None:
        """Write what is held as a row group."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not self.held and not (self.needed and self.writer is None):
            return
        if self.writer is None:
            file = self.opened.enter_context(work.new_file(self.path))
            self.writer = self.opened.enter_context(pq.ParquetWriter(file, schema(), compression="zstd"))
        if self.held:
            self.writer.write_table(pa.Table.from_batches(self.held, schema=schema()).combine_chunks())
        self.held, self.num_held = [], 0

    def found(self) -> dict[str, Any]:
        """The counts, and the file with its checksum if there is one; for when it is closed."""
        return {
            "documents": dict(self.documents),
            "bytes": dict(self.bytes),
            "languages": dict(self.languages),
            "lengths": self.lengths,
            "files": {f"documents/{self.path.name}": files.xxh3(self.path)} if self.writer is not None else {},
        }
