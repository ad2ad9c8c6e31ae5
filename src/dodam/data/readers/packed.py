"""The bytes of a file, unpacked: .gz, .zst and .tgz while reading, or in a temporary file for who must seek in it.

What unpacks to much more than a text does is refused before it fills memory or disk.
"""

import gzip
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import ZipFile

from dodam.errors import DataError, DodamError, UsageError
from dodam.files import storage

PACKED = (".gz", ".zst")
BLOCK = 1 << 20  # bytes read at a time
FREE = 1 << 26  # bytes that anything may unpack to
LARGEST_RATIO = 250  # beyond them, the most bytes that one packed byte may unpack to
LARGEST_DOCUMENT = 1 << 28  # bytes of a document that is read whole: a page, a PDF, the unpacked parts of a DOCX


def suffix(path: str) -> str:
    """`.jsonl` of `a.jsonl.gz`."""
    plain = Path(path.lower())
    return (plain.with_suffix("") if plain.suffix in PACKED else plain).suffix


def check_ratio(unpacked: int, packed: int, where: str) -> None:
    """DataError where so few bytes unpack to so many that it is no text."""
    if unpacked > FREE and unpacked > LARGEST_RATIO * packed:
        what = f"unpacks to more than {LARGEST_RATIO} times its size (and more than {FREE >> 20} MB)"
        raise DataError(what, where=where, mend="If it is no bomb, unpack it yourself.")


class Unpacked:
    """A stream that counts what comes out of it, and stops what grows too much."""

    def __init__(self, stream: Any, raw: BinaryIO, path: str) -> None:
        self.stream, self.raw, self.path = stream, raw, path
        self.count = 0

    def tell(self) -> int:
        return self.count

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            return b"".join(iter(lambda: self.read(BLOCK), b""))
        data = self.stream.read(size)
        self.count += len(data)
        check_ratio(self.count, self.raw.tell(), self.path)
        return data


@contextmanager
def opened(path: str) -> Iterator[Any]:
    """The bytes of a file, unpacked. Within, whatever cannot be read is a DataError that names the file."""
    import zstandard

    try:
        with open(path, "rb") as raw:
            if path.lower().endswith((".gz", ".tgz")):
                with gzip.open(raw) as unpacked:
                    yield Unpacked(unpacked, raw, path)
            elif path.lower().endswith(".zst"):
                with zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True) as unpacked:
                    yield Unpacked(unpacked, raw, path)
            else:
                yield raw
    except (EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError) as error:
        raise DataError(f"cannot be unpacked ({error})", where=path, mend="The file is torn or not packed.") from None
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})", where=path) from None


@contextmanager
def seekable(path: str) -> Iterator[BinaryIO]:
    """`opened`, for formats that are read from their end: what is packed is first unpacked into a temporary file."""
    with opened(path) as file:
        if not isinstance(file, Unpacked):
            yield file
            return
        with storage(Path(tempfile.gettempdir())), tempfile.TemporaryFile() as spool:
            while data := file.read(BLOCK):
                spool.write(data)
            spool.seek(0)
            yield spool


def whole(path: str) -> bytes:
    """All bytes of a document. DataError for one that no memory should hold."""
    with opened(path) as file:
        data = file.read(LARGEST_DOCUMENT + 1)
    if len(data) > LARGEST_DOCUMENT:
        raise DataError(f"is larger than {LARGEST_DOCUMENT >> 20} MB, too large for one document", where=path)
    return data


@contextmanager
def zipped(path: str, kind: str, most: int = 0) -> Iterator[ZipFile]:
    """A zip file whose sizes have been checked: the ratio, and that all of it is no more than `most` bytes (0: any)."""
    with seekable(path) as file, readable(path, kind), ZipFile(file) as archive:
        file.seek(0, 2)
        unpacked = sum(member.file_size for member in archive.infolist())  # no more than this is ever read
        check_ratio(unpacked, file.tell(), path)
        if most and unpacked > most:
            raise DataError(f"unpacks to more than {most >> 20} MB, too much for one document", where=path)
        yield archive


@contextmanager
def readable(where: str, kind: str) -> Iterator[None]:
    """Within, whatever a library says about bytes it cannot read is a DataError that names the file.

    All exceptions, because libraries for such formats meet torn files with exceptions of all kinds."""
    try:
        yield
    except (DodamError, OSError, ImportError):  # the second one `opened` knows
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":  # a panic in Rust
            raise
        told = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"is no {kind} file, or torn ({told})", where=where) from None


def missing(package: str, path: str) -> UsageError:
    """What to do where a package that reads this format is not installed."""
    mend = f"Install it with pip install 'dodam[data]', or {package} alone."
    return UsageError(f"reading {suffix(path)} files needs the package {package}", where=path, mend=mend)


def copy(source: Any, target: Path) -> None:
    """Bytes into a file of ours. StorageError where the disk is full."""
    with storage(target), target.open("wb") as file:
        shutil.copyfileobj(source, file, BLOCK)
