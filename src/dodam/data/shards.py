"""Token shards: a data folder's text as ids, memory-mapped, one set for each tokenizer.

`DATA/shards/FINGERPRINT/` holds, for each split and source, `SPLIT-N.bin` (uint16, or uint32 from 65,536 ids on) with
`SPLIT-N.ends.npy` (where each document ends) and `SPLIT-N.bytes.npy` (bytes of each document's text), the tokenizer
itself and a manifest with checksums. A document is `<bos> ids <eos>`. On opening, a file is read through unless its
size, time and inode are those that it had when it was last read through (`checked.json`).
"""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from dodam import files
from dodam.data.documents import read_documents, read_manifest
from dodam.errors import FolderError, StorageError
from dodam.tokenizer.tokenizer import Tokenizer

FORMAT = 1
CHECKED = "checked.json"
BATCH_BYTES = 8_000_000  # text encoded at one time


@dataclass(frozen=True)
class TokenFile:
    """One source of one split: all its ids in a row, each document's end and bytes, its share in the mix, and how often
    a run reads it at most (0: no limit)."""

    name: str
    tokens: np.ndarray
    ends: np.ndarray
    bytes: np.ndarray
    weight: float
    epochs: float = 0.0


@dataclass(frozen=True)
class Shards:
    """The token files of a data folder under one tokenizer."""

    path: Path
    manifest: dict[str, Any]

    @property
    def fingerprint(self) -> str:
        """Changes with the tokenizer and with every byte of the tokens."""
        sums = [entry["xxh3"] for entry in self.manifest["files"]]
        return xxhash.xxh3_64_hexdigest(json.dumps([self.manifest["tokenizer"], sums]).encode())

    def split(self, split: str) -> list[TokenFile]:
        """The token files of `train` or `validation`, memory-mapped."""
        dtype = np.dtype(self.manifest["dtype"])
        found = []
        for entry in self.manifest["files"]:
            if entry["split"] == split and entry["tokens"]:
                stem = self.path / entry["stem"]
                tokens = np.memmap(f"{stem}.bin", dtype=dtype, mode="r")
                ends, num_bytes = np.load(f"{stem}.ends.npy"), np.load(f"{stem}.bytes.npy")
                limit = entry.get("epochs", 0.0)
                found.append(TokenFile(entry["source"], tokens, ends, num_bytes, entry["weight"], limit))
        return found


def bytes_a_token(sources: Sequence[TokenFile]) -> float:
    """Bytes of text that a token stands for, the marks of documents' ends counted among the tokens."""
    return sum(int(one.bytes.sum()) for one in sources) / max(1, sum(len(one.tokens) for one in sources))


def tokenizers_of(data_dir: Path) -> list[Path]:
    """The tokenizers a data folder has shards for."""
    return sorted(path.parent for path in (Path(data_dir) / "shards").glob("*/tokenizer.json"))


def ensure_shards(data_dir: Path, tokenizer: Tokenizer, *, full: bool = False) -> Shards:
    """Open the shards of this tokenizer; make them when they are not there or the text has changed.

    FolderError when they are torn. `full` reads every file through, also those that look untouched."""
    data_dir = Path(data_dir)
    manifest = read_manifest(data_dir)
    path = data_dir / "shards" / tokenizer.fingerprint
    if (path / "manifest.json").is_file():
        found = files.read_json(path / "manifest.json")
        files.check_format(found.get("format"), FORMAT, path / "manifest.json")
        if found["text"] == manifest["files"]:
            verify(path, found, full=full)
            return Shards(path, found)
    print(f"tokenizing {data_dir} for tokenizer {tokenizer.fingerprint}", file=sys.stderr)
    with files.new_dir(path) as folder:
        write(folder, data_dir, manifest, tokenizer)
    _write_marks(path, _marks(path, files.read_json(path / "manifest.json")))  # they were hashed as they were written
    return Shards(path, files.read_json(path / "manifest.json"))


def write(folder: Path, data_dir: Path, manifest: dict[str, Any], tokenizer: Tokenizer) -> None:
    """All splits and sources into `folder`, in the order of the documents."""
    dtype = "<u2" if tokenizer.size < 65_536 else "<u4"
    mixed = {source["name"]: (source["weight"], source.get("epochs", 0.0)) for source in manifest["sources"]}
    entries = []
    for split in ("train", "validation"):
        writers: dict[str, Writer] = {}
        for batch in batches(read_documents(data_dir, split)):
            ids, offsets = tokenizer.encode_flat([row["text"] for row in batch])
            for index, row in enumerate(batch):
                name = row["source"]
                if name not in writers:
                    writers[name] = Writer(folder / f"{split}-{len(writers):03d}", dtype)
                text_ids = ids[offsets[index] : offsets[index + 1]]
                document = np.concatenate(([tokenizer.bos], text_ids, [tokenizer.eos]))
                writers[name].add(document.astype(dtype), len(row["text"].encode()))
        for name, writer in writers.items():
            num_tokens = writer.close()
            stem = writer.stem.name
            names = [f"{stem}.{part}" for part in ("bin", "ends.npy", "bytes.npy")]
            entries.append(
                {
                    "split": split,
                    "source": name,
                    "stem": stem,
                    "weight": mixed[name][0],
                    "epochs": mixed[name][1],
                    "tokens": num_tokens,
                    "documents": len(writer.ends),
                    "sizes": {file: (folder / file).stat().st_size for file in names},
                    "xxh3": {file: files.xxh3(folder / file) for file in names},
                }
            )
    tokenizer.save(folder)
    about = {"format": FORMAT, "tokenizer": tokenizer.fingerprint, "dtype": dtype, "text": manifest["files"]}
    files.write_json(folder / "manifest.json", {**about, "files": entries})


class Writer:
    """Appends documents to one token file."""

    def __init__(self, stem: Path, dtype: str) -> None:
        self.stem, self.dtype = stem, dtype
        self.file = Path(f"{stem}.bin").open("wb")  # noqa: SIM115 - closed by close()
        self.ends: list[int] = []
        self.bytes: list[int] = []

    def add(self, document: np.ndarray, num_bytes: int) -> None:
        self.file.write(document.tobytes())
        self.ends.append((self.ends[-1] if self.ends else 0) + len(document))
        self.bytes.append(num_bytes)

    def close(self) -> int:
        """Finish the files; how many tokens were written."""
        self.file.close()
        np.save(f"{self.stem}.ends.npy", np.array(self.ends, dtype=np.int64))
        np.save(f"{self.stem}.bytes.npy", np.array(self.bytes, dtype=np.int64))
        return self.ends[-1] if self.ends else 0


def batches(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Documents in lists of about `BATCH_BYTES` of text."""
    batch, size = [], 0
    for row in rows:
        batch.append(row)
        size += len(row["text"])
        if size > BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def verify(path: Path, manifest: dict[str, Any], *, full: bool = False) -> None:
    """FolderError when a file is missing or has other bytes than when it was written.

    Only files that were touched since they were last read through are read, or with `full` all of them."""
    known = {} if full else _read_marks(path)
    sums = {name: digest for entry in manifest["files"] for name, digest in entry["xxh3"].items()}
    sizes = {name: size for entry in manifest["files"] for name, size in entry["sizes"].items()}
    marks = _marks(path, manifest)
    for name, digest in sums.items():
        mark = marks.get(name)
        whole = mark is not None and mark[0] == sizes[name]
        if not whole or (known.get(name) != mark and files.xxh3(path / name) != digest):
            mend = f"Delete {path}; it is made again from the text."
            raise FolderError("is torn or was changed", where=str(path / name), mend=mend)
    if known != marks:
        _write_marks(path, marks)


def _marks(path: Path, manifest: dict[str, Any]) -> dict[str, list[int]]:
    """Size, time of the last change and inode of each file that is there: another content has another mark."""
    found = {}
    for entry in manifest["files"]:
        for name in entry["sizes"]:
            with suppress(FileNotFoundError):
                about = (path / name).stat()
                found[name] = [about.st_size, about.st_mtime_ns, about.st_ino]
    return found


def _read_marks(path: Path) -> dict[str, Any]:
    try:
        return files.read_json(path / CHECKED)
    except FolderError:
        return {}


def _write_marks(path: Path, marks: dict[str, list[int]]) -> None:
    with suppress(StorageError):  # on a disk that cannot be written every opening reads all
        files.write_json(path / CHECKED, marks)
