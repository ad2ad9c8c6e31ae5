"""What `prepare` would do, from a sample: the first documents of every file. Nothing is written.

In: the files to read. Out: documents, bytes and seconds, extrapolated by the share of each file that the sample took.
"""

import gzip
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from dodam.data.cleaning.steps import Cleaning, clean_batch
from dodam.data.decision import texts_as_bytes
from dodam.data.outcome import removed_of
from dodam.data.parts import PART_BYTES, Reading, is_file
from dodam.data.pipeline import GROUP_BYTES, batches, long_enough
from dodam.data.progress import duration
from dodam.data.readers import suffix
from dodam.data.skipped import Skipped
from dodam.data.sources import Document, Input, documents

FIRST = 200  # documents of a file that are looked at
LONGEST_LOOK = 20.0  # seconds after which the rest of the files is judged by those seen
BLOCK = 1 << 16


@dataclass
class Estimate:
    """The sum over files; documents and bytes are of what would be read, before duplicates are known."""

    files: int = 0
    file_bytes: int = 0
    documents: float = 0.0
    bytes: float = 0.0
    seconds: float = 0.0
    """Of reading and cleaning, on one core."""
    sampled: int = 0
    unopened: int = 0
    """Files that are judged by others, as time was over."""
    exact: bool = True
    """Whether every file was read to its end."""
    languages: Counter[str] = field(default_factory=Counter)
    """Bytes of the sample by language."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Documents of the sample that would be left out."""

    def add(self, other: "Estimate", share: float = 1.0) -> None:
        """Count another one, of which `share` was looked at."""
        self.files += other.files
        self.file_bytes += other.file_bytes
        self.documents += other.documents / share
        self.bytes += other.bytes / share
        self.seconds += other.seconds / share
        self.sampled += other.sampled
        self.unopened += other.unopened
        self.exact = self.exact and other.exact and share == 1.0
        self.languages.update(other.languages)
        self.left_out.update(other.left_out)


def estimate(
    inputs: Sequence[Input], reading: Reading, cleaning: Cleaning, min_characters: int, skipped: Skipped
) -> dict[str, Estimate]:
    """An estimate for each source. DataError for a file whose beginning cannot be read, unless such are skipped."""
    found: dict[str, Estimate] = {}
    unseen: dict[str, Estimate] = {}
    started = time.monotonic()
    for one in inputs:
        size = Path(one.path).stat().st_size if is_file(one.path) else 0
        if one.name in found and time.monotonic() - started > LONGEST_LOOK:
            unseen.setdefault(one.name, Estimate()).add(Estimate(files=1, file_bytes=size, unopened=1))
            continue
        look = _look(one, reading, cleaning, min_characters, skipped)
        look.file_bytes = size
        found.setdefault(one.name, Estimate()).add(look, share=1.0 if look.exact else _share_read(one, look, size))
    for name, rest in unseen.items():
        seen = found[name]
        scale = rest.file_bytes / max(1, seen.file_bytes)
        more = Estimate(rest.files, rest.file_bytes, seen.documents * scale, seen.bytes * scale, seen.seconds * scale)
        more.exact, more.unopened = False, rest.unopened
        seen.add(more)
    return found


@dataclass
class Look(Estimate):
    """The first documents of one file."""

    last: str = ""
    """The id of the last of them."""


def _look(one: Input, reading: Reading, cleaning: Cleaning, min_characters: int, skipped: Skipped) -> Look:
    choices: dict[str, Any] = {key: getattr(reading, key) for key in ("columns", "encoding", "license", "seed")}
    look, seen = Look(files=1), set[bytes]()
    before = skipped.count
    started = time.monotonic()
    documents_of: Iterator[Document] = documents([one], **choices, skipped=skipped, raw=True, told=False)
    first = list(islice(documents_of, FIRST + 1 if is_file(one.path) else None))  # else no bytes to judge it by
    if is_file(one.path) and len(first) > FIRST:
        look.exact = False
        first.pop()
    look.sampled, look.last = len(first), first[-1].id if first else ""
    for batch in batches(first, 0, GROUP_BYTES):
        done = [outcome for _, outcome in clean_batch(batch, cleaning)]
        done.append(long_enough(done[-1].batch, min_characters))
        for outcome in done:
            look.left_out.update(removed_of(outcome.counts))
        left = done[-1].batch
        for text, language in zip(texts_as_bytes(left), left.column("language").to_pylist(), strict=True):
            look.languages[language] += len(text)
            if text in seen:
                look.left_out["duplicate"] += 1
                continue
            seen.add(text)
            look.documents += 1
            look.bytes += len(text)
    look.seconds = time.monotonic() - started
    look.left_out.update({"unreadable": skipped.count - before} if skipped.count > before else {})
    return look


def _share_read(one: Input, look: Look, size: int) -> float:
    """The share of a file that its first documents are: rows of Parquet by their number, lines by their bytes, what is
    else by the size of its text."""
    line = look.last.removeprefix(f"{one.path}:")
    if one.path.lower().endswith(".parquet"):
        import pyarrow.parquet as pq

        return look.sampled / max(look.sampled, pq.ParquetFile(one.path).metadata.num_rows)
    if line.isdecimal() and suffix(one.path) != ".parquet":
        return _bytes_of_lines(one.path, int(line)) / max(1, size)
    return min(1.0, max(look.bytes, 1.0) / max(1, size))


def _bytes_of_lines(path: str, count: int) -> int:
    """Bytes of the first lines of a file, packed ones as they are packed."""
    import zstandard

    with open(path, "rb") as raw:
        packed = path.lower().endswith((".gz", ".zst"))
        file: Any = raw
        if path.lower().endswith(".gz"):
            file = gzip.GzipFile(fileobj=raw)
        elif path.lower().endswith(".zst"):
            file = zstandard.ZstdDecompressor().stream_reader(raw, read_size=BLOCK, read_across_frames=True)
        num_bytes = 0
        while block := file.read(BLOCK):
            lines = block.count(b"\n")
            if lines >= count:
                ends = [index for index, byte in enumerate(block) if byte == 10]
                num_bytes += ends[count - 1] + 1
                break
            count -= lines
            num_bytes += len(block)
        return raw.tell() if packed else num_bytes


def told(found: dict[str, Estimate], workers: int) -> str:
    """The estimate as a table with a line below it."""
    total = Estimate()
    lines = ["| Source | Files | MB on disk | Documents | MB of text | Languages |"]
    lines += ["| --- | ---: | ---: | ---: | ---: | --- |"]
    for name, one in found.items():
        total.add(one)
        size = max(1, one.languages.total())
        languages = ", ".join(f"{key} {value / size:.0%}" for key, value in one.languages.most_common(3) if value)
        about = "" if one.exact else "about "
        lines.append(
            f"| {name} | {one.files:,} | {one.file_bytes / 1e6:,.1f} | {about}{one.documents:,.0f} "
            f"| {about}{one.bytes / 1e6:,.1f} | {languages} |"
        )
    left_out = ", ".join(f"{count:,} {reason}" for reason, count in total.left_out.items()) or "none"
    at_once = max(1, min(workers, total.file_bytes // PART_BYTES))
    lines += ["", f"Of {total.sampled:,} documents looked at would be left out: {left_out}."]
    if total.unopened:
        lines.append(
            f"After {LONGEST_LOOK:.0f} s {total.unopened:,} files were not opened; they are judged by the others."
        )
    processes = "one process" if at_once == 1 else f"{at_once} processes"
    lines.append(f"Reading and cleaning would take about {duration(total.seconds / at_once)} in {processes}.")
    lines.append("Nothing was written.")
    return "\n".join(lines)


def to_json(found: dict[str, Estimate]) -> dict[str, Any]:
    """The estimate for --json."""
    total = Estimate()
    for one in found.values():
        total.add(one)
    sources = [
        {"name": name, "files": one.files, "documents": round(one.documents), "bytes": round(one.bytes)}
        for name, one in found.items()
    ]
    return {
        "documents": round(total.documents),
        "bytes": round(total.bytes),
        "seconds": round(total.seconds, 1),
        "sampled": total.sampled,
        "exact": total.exact,
        "removed": dict(total.left_out),
        "sources": sources,
    }
