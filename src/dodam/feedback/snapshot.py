"""What a feedback store told a run when it began: kept in the run's folder, so that the run goes on with the same rows
however many people judge meanwhile.

In come a store and what is read of it; out come rows, each with where it stood. OUT/store/NAME.jsonl holds them.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import xxhash

from dodam import files
from dodam.feedback.store import Store, open_store

FOLDER = "store"
Row = dict[str, Any]


def snapshot_rows(
    path: str, kind: str, read: Callable[[Store], Iterable[tuple[str, Row]]], run: Path | None
) -> Iterator[tuple[str, Row]]:
    """(where, row) of all that `read` gives of the store at `path`. With a `run` folder they are written there first,
    unless they are there already: then they are what is given, and the store is not asked. `kind` tells apart what is
    read of one store."""
    if run is None:
        with open_store(path) as store:
            yield from read(store)
        return
    file = snapshot_file(path, kind, run)
    if not file.is_file():
        with open_store(path) as store, files.new_file(file) as target:
            lines = [json.dumps({**row, "where": where}, ensure_ascii=False) + "\n" for where, row in read(store)]
            target.write_text("".join(lines), encoding="utf-8")
    for line in file.read_text(encoding="utf-8").split("\n")[:-1]:
        row = json.loads(line)
        yield row.pop("where"), row


def snapshot_file(path: str, kind: str, run: Path) -> Path:
    """Where a run keeps what it read."""
    return run / FOLDER / f"{kind}-{xxhash.xxh3_64_hexdigest(path.encode())}.jsonl"
