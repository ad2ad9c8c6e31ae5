"""Parts: the input cut and put together into pieces of work of about one size, each read by itself.

In: the files to read. Out: parts, each of some small files or of a range of a large one, cut where a row or a paragraph
ends, and the documents of a part. How files are cut depends on their bytes alone.
"""

import codecs
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, TypeVar

import xxhash

from dodam.data.readers.hub import HUB
from dodam.data.readers.notes import taken
from dodam.data.skipped import Skipped
from dodam.data.sources import SAMPLE, Document, Input, Source, documents
from dodam.data.text import clean
from dodam.errors import DataError

PART_BYTES = 1 << 24  # of input in one part, about
BLOCK = 1 << 22  # bytes read at a time
UNKNOWN_BYTES = 1 << 24  # what counts for in progress that is no file

LINES = (".jsonl", ".ndjson")  # may be cut at any line end
PLAIN = (".txt", ".text", ".md", ".markdown")  # at blank lines
NOT_BYTEWISE = re.compile(r"utf.?(16|32|7)", re.IGNORECASE)  # in these a byte 10 need not be a line end

T = TypeVar("T")


@dataclass(frozen=True)
class Reading:
    """How files are read, the same for all of them."""

    columns: dict[str, str]
    encoding: str
    license: str
    seed: int
    skip_bad: bool
    otherwise: str
    """What can be done about bad rows, told with the first of them."""


class Survey(NamedTuple):
    """What one look at all bytes of a file tells."""

    size: int
    checksum: str
    """Empty where the file cannot be read."""
    cuts: tuple[tuple[int, int], ...]
    """Where it may be cut: (byte, number of the line that begins there), some `part_bytes` apart."""


@dataclass(frozen=True)
class Piece:
    """A file, or a range of one."""

    path: str
    source: str
    """The source's name in reports."""
    checksum: str
    start: int
    end: int
    line: int
    """The number of its first line in the file."""
    whole: bool


@dataclass(frozen=True)
class Part:
    """Pieces that are read in one go; `size` in bytes."""

    number: int
    pieces: tuple[Piece, ...]
    size: int


def survey_all(task: tuple[Sequence[str], Reading, int]) -> list[Survey]:
    """(paths, reading, part_bytes) -> a survey of each file. DataError for one that cannot be read, unless such files
    are to be skipped: then its reader will count it."""
    paths, reading, part_bytes = task
    found = []
    for path in paths:
        try:
            found.append(survey(path, reading.encoding, part_bytes))
        except DataError:
            if not reading.skip_bad:
                raise
            found.append(Survey(0, "", ()))
    return found


def survey(path: str, encoding: str, part_bytes: int) -> Survey:
    """Size, checksum and cuts of a file. DataError when it cannot be read."""
    digest, size, line, cuts = xxhash.xxh3_128(), 0, 1, []
    target = part_bytes
    try:
        decoder = _cuttable(path, encoding, part_bytes)
        with open(path, "rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
                if decoder is not None and not _decodes(decoder, block):
                    decoder, cuts = None, []
                while decoder is not None and size <= target < size + len(block):
                    place = _line_end(block, target - size, path)
                    if not place:
                        target = size + len(block)
                        break
                    cuts.append((size + place, line + block.count(b"\n", 0, place)))
                    target = size + place + part_bytes
                size, line = size + len(block), line + block.count(b"\n")
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", where=path) from None
    return Survey(size, digest.hexdigest(), tuple(cut for cut in cuts if cut[0] < size))


def _cuttable(path: str, encoding: str, part_bytes: int) -> codecs.IncrementalDecoder | None:
    """What tells whether a file is UTF-8 to its end, for one that may be cut then; None for others."""
    ending = Path(path.lower()).suffix
    if ending not in (*LINES, *PLAIN) or NOT_BYTEWISE.match(encoding) or Path(path).stat().st_size <= part_bytes:
        return None
    if ending in PLAIN and not _read_as_it_stands(path, encoding):
        return None
    return codecs.getincrementaldecoder("utf-8")()


def _read_as_it_stands(path: str, encoding: str) -> bool:
    """Whether a text file is read as running text: a chat somebody exported, say, is made into something else, and
    a range of it would not be known for one."""
    one = Input(path, Source(path), "")
    found = documents([one], columns={}, encoding=encoding, skipped=Skipped(True), told=False)
    first = next(found, None)
    taken()  # it is read again, and noted then
    with open(path, "rb") as file:
        head = clean(file.read(BLOCK).decode("utf-8-sig", errors="ignore"))
    return first is not None and head.startswith(first.text[:1000])


def _decodes(decoder: codecs.IncrementalDecoder, block: bytes) -> bool:
    if b"\0" in block:  # UTF-16, or no text
        return False
    try:
        decoder.decode(block)
    except UnicodeDecodeError:
        return False
    return True


def _line_end(block: bytes, start: int, path: str) -> int:
    """Where a block may be cut behind `start`; in a text the end of a paragraph if there is one. 0 for nowhere."""
    if Path(path.lower()).suffix in PLAIN:
        paragraph = re.compile(rb"\n\r?\n").search(block, start)
        if paragraph:
            return paragraph.end()
    return block.find(b"\n", start) + 1


def parts_of(inputs: Sequence[Input], surveys: Sequence[Survey], part_bytes: int) -> list[Part]:
    """All inputs in their order, as parts of about `part_bytes`."""
    pieces = [piece for one, found in zip(inputs, surveys, strict=True) for piece in _pieces(one, found)]
    groups = grouped(pieces, lambda piece: piece.end - piece.start, part_bytes)
    return [
        Part(number, tuple(group), sum(piece.end - piece.start for piece in group))
        for number, group in enumerate(groups)
    ]


def _pieces(one: Input, found: Survey) -> Iterator[Piece]:
    starts = [(0, 1), *found.cuts]
    ends = [cut[0] for cut in found.cuts] + [found.size]
    for (start, line), end in zip(starts, ends, strict=True):
        yield Piece(one.path, one.name, found.checksum, start, end, line, whole=not found.cuts)


def grouped(items: Sequence[T], size: Callable[[T], int], most: int) -> list[list[T]]:
    """Neighbours put together as long as they are no larger than `most`."""
    groups: list[list[T]] = []
    held = 0
    for item in items:
        if not groups or held + size(item) > most:
            groups.append([])
            held = 0
        groups[-1].append(item)
        held += size(item)
    return groups


def read_part(part: Part, reading: Reading, skipped: Skipped, folder: Path) -> Iterator[Document]:
    """The documents of a part, not cleaned yet. Ranges are copied into `folder` one by one, so that every reader can
    read them; documents and errors name the file and the line that they come from."""
    for piece in part.pieces:
        if piece.whole:
            yield from _documents(piece.path, piece.source, reading, skipped)
            continue
        with _range_of(piece, folder) as path:
            told, inside = _named_as(piece, path), Skipped(skipped.allowed, skipped.otherwise)
            try:
                for document in _documents(str(path), piece.source, reading, inside):
                    yield replace(document, id=told(document.id))
            except DataError as error:
                raise DataError(told(error.what), where=told(error.where), mend=error.mend) from None
        skipped.count += inside.count
        skipped.name(map(told, inside.named))
        skipped.files += [f"{piece.path}:{piece.line}" for _ in inside.files]


def _documents(path: str, source: str, reading: Reading, skipped: Skipped) -> Iterator[Document]:
    one = Input(path, Source(path), source)
    choices = {"columns": reading.columns, "encoding": reading.encoding, "license": reading.license}
    yield from documents([one], **choices, skipped=skipped, seed=reading.seed, told=False, raw=True)  # type: ignore[arg-type]


@contextmanager
def _range_of(piece: Piece, folder: Path) -> Iterator[Path]:
    """A range as a file of its own, under the name of its file."""
    with tempfile.TemporaryDirectory(dir=folder, prefix="range-", ignore_cleanup_errors=True) as place:
        path = Path(place) / Path(piece.path).name
        left = piece.end - piece.start
        try:
            with open(piece.path, "rb") as whole:
                whole.seek(piece.start)
                with path.open("wb") as file:
                    while left and (block := whole.read(min(left, BLOCK))):
                        file.write(block)
                        left -= len(block)
        except FileNotFoundError as error:
            raise DataError(f"cannot be read ({error.strerror})", where=piece.path) from None
        if left:
            raise DataError("was changed while it was read", where=piece.path, mend="Start again.")
        yield path


def _named_as(piece: Piece, path: Path) -> Callable[[str], str]:
    """Makes a text that names the copy of a range name the file and the line in it."""
    copy = re.compile(re.escape(str(path)) + r"(?::(\d+))?")

    def named(found: re.Match) -> str:
        return piece.path + (f":{int(found[1]) + piece.line - 1}" if found[1] else "")

    return lambda text: copy.sub(named, text)


def is_file(path: str) -> bool:
    """Whether a path is a file, and no part of the bundled corpus and no dataset of the hub."""
    return not path.startswith((SAMPLE, HUB))
