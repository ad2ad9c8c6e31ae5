"""One reader for each file format. In: a path and an encoding. Out: rows (or, in place of a row, the DataError that
tells why it cannot be read) with FILE:LINE, or pieces of plain text. Files are streamed; what spoils a whole file is
raised.
"""

import codecs
import csv
import gzip
import json
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from dodam.data.text import HANGUL
from dodam.errors import DataError

PACKED = (".gz", ".zst")
MEND = "Mend it."
BLOCK = 1 << 20  # bytes read at a time
LONGEST_LINE = 1 << 26  # characters; a longer line is no row
PIECE = 1 << 12  # characters a piece of a long text has at least
LARGEST_PIECE = 1 << 16  # characters; longer text files are cut into pieces

Row = dict[str, Any]
Rows = Iterator[tuple[str, Row | DataError]]


def suffix(path: str) -> str:
    """`.jsonl` of `a.jsonl.gz`."""
    plain = Path(path.lower())
    return (plain.with_suffix("") if plain.suffix in PACKED else plain).suffix


@contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """The bytes of a file, unpacked. Within, whatever cannot be read is a DataError that names the file."""
    import zstandard

    try:
        with open(path, "rb") as raw:
            if path.lower().endswith(".gz"):
                with gzip.open(raw) as unpacked:
                    yield unpacked  # type: ignore[misc]
            elif path.lower().endswith(".zst"):
                with zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True) as unpacked:
                    yield unpacked  # type: ignore[misc]
            else:
                yield raw
    except (EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError) as error:
        raise DataError(f"cannot be unpacked ({error})", where=path, mend="The file is torn or not packed.") from None
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", where=path) from None


def blocks(path: str, encoding: str) -> Iterator[str]:
    """The text of a file, block by block. DataError names the byte that is not in the encoding.

    A file that is UTF-8 from end to end is read as that, whatever else was named: folders mix old files and new."""
    try:
        codecs.lookup(encoding)
    except LookupError:
        mend = "Such as utf-8, cp949, utf-16."
        raise DataError(f"{encoding} is not an encoding Python knows", where="--encoding", mend=mend) from None
    if not encoding.lower().startswith("utf") and is_utf8(path):
        encoding = "utf-8"
    decoder = codecs.getincrementaldecoder("utf-8-sig" if encoding.lower() in ("utf-8", "utf8") else encoding)()
    num_read, last = 0, False
    with opened(path) as file:
        while not last:
            data = file.read(BLOCK)
            num_read, last = num_read + len(data), not data
            try:
                text = decoder.decode(data, final=last)
            except UnicodeDecodeError as error:
                place = num_read - len(error.object) + error.start
                raise DataError(f"is not {encoding} at byte {place}", where=path, mend=_mend(path, encoding)) from None
            if "\0" in text:
                mend = _mend(path, encoding, "Is it text at all?")
                raise DataError("holds NUL bytes, so it is no text in this encoding", where=path, mend=mend)
            yield text


def is_utf8(path: str) -> bool:
    """Whether all of a file decodes as UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    with opened(path) as file:
        try:
            while data := file.read(BLOCK):
                decoder.decode(data)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return True


def _mend(path: str, encoding: str, otherwise: str = "Is it text? Then name its encoding with --encoding.") -> str:
    """What to do about a file that is not in the encoding: the one that its beginning is in, if that is known."""
    with opened(path) as file:
        head = file.read(BLOCK)
    marked = head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    likely = "utf-16" if marked else "cp949"
    try:
        text = codecs.getincrementaldecoder(likely)().decode(head)
    except UnicodeDecodeError:
        return otherwise
    return f"It reads as {likely}: --encoding {likely}." if marked or HANGUL.search(text) else otherwise


def lines(path: str, encoding: str) -> Iterator[str]:
    """The lines of a file with their ends. DataError for a line that no memory should hold."""
    rest, number = "", 0
    for block in blocks(path, encoding):
        *whole, rest = (rest + block).split("\n")
        for line in whole:
            number += 1
            yield f"{line}\n"
        if len(rest) > LONGEST_LINE:
            what = f"is longer than {LONGEST_LINE >> 20} million characters"
            raise DataError(what, where=f"{path}:{number + 1}", mend="Is every row on a line of its own?")
    if rest:
        yield rest


def jsonl_rows(path: str, encoding: str) -> Rows:
    """One JSON object a line."""
    for number, line in enumerate(lines(path, encoding), start=1):
        if line.strip():
            yield f"{path}:{number}", _object(line, f"{path}:{number}")


def _object(line: str, where: str) -> Row | DataError:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        return DataError(f"is not JSON ({error.msg}, column {error.colno})", where=where, mend=MEND)
    except RecursionError:
        return DataError("is nested too deep", where=where)
    except ValueError as error:  # a number of thousands of digits
        return DataError(f"is not JSON ({error})", where=where, mend=MEND)
    if not isinstance(row, dict):
        return DataError("is not a JSON object, {…}", where=where)
    return row


def json_rows(path: str, encoding: str) -> Rows:
    """One JSON array of objects, or an object that holds one; or JSONL under another name. Read whole."""
    text = "".join(blocks(path, encoding))
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and text.lstrip().startswith("{"):
            yield from jsonl_rows(path, encoding)
            return
        where = f"{path}:{error.lineno}"
        raise DataError(f"is not JSON ({error.msg}, column {error.colno})", where=where, mend=MEND) from None
    except RecursionError:
        raise DataError("is nested too deep", where=path) from None
    except ValueError as error:  # a number of thousands of digits
        raise DataError(f"is not JSON ({error})", where=path) from None
    if isinstance(value, dict):
        arrays = [inner for inner in value.values() if isinstance(inner, list) and inner and isinstance(inner[0], dict)]
        value = arrays[0] if len(arrays) == 1 and not {"messages", "conversations"} & value.keys() else [value]
    if not isinstance(value, list):
        raise DataError("is neither an array nor an object", where=path)
    for number, row in enumerate(value, start=1):
        where = f"{path}: entry {number}"
        yield where, row if isinstance(row, dict) else DataError("is not a JSON object, {…}", where=where)


def csv_rows(path: str, encoding: str) -> Rows:
    """Comma-separated values; the first line names the columns."""
    yield from _table(path, csv.reader(lines(path, encoding), strict=True))


def tsv_rows(path: str, encoding: str) -> Rows:
    """Tab-separated values. A quotation mark is an ordinary character, unless a pair of them holds a whole field."""
    yield from _table(
        path, csv.reader(lines(path, encoding), delimiter="\t", quoting=csv.QUOTE_NONE), unquote=_unquoted
    )


def _unquoted(cell: str) -> str:
    inside = cell[1:-1].replace('""', "")
    if len(cell) >= 2 and cell[0] == cell[-1] == '"' and '"' not in inside:
        return cell[1:-1].replace('""', '"')
    return cell


def _table(path: str, reader: Any, unquote: Callable[[str], str] = str) -> Rows:
    csv.field_size_limit(LONGEST_LINE)
    header: list[str] | None = None
    while True:
        where = f"{path}:{reader.line_num + 1}"
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield where, DataError(f"is not CSV ({error})", where=where)
            continue
        if cells is None:
            return
        cells = [unquote(cell) for cell in cells]
        if header is None:
            header = [name.strip() for name in cells]
            if len(set(header)) < len(header):
                raise DataError("two columns have the same name", where=where, mend="The first line names the columns.")
        elif len(cells) == len(header):
            yield where, dict(zip(header, cells, strict=True))
        elif cells:
            yield where, DataError(f"has {len(cells)} fields, there are {len(header)} columns", where=where)


def parquet_rows(path: str, encoding: str) -> Rows:
    """Parquet, whose texts are always UTF-8."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    with opened(path) as unpacked, tempfile.TemporaryFile() as spool:
        file: BinaryIO = unpacked
        if path.lower().endswith(PACKED):  # Parquet is read from its end
            shutil.copyfileobj(unpacked, spool)
            file = spool
        try:
            for batch in pq.ParquetFile(file).iter_batches(batch_size=1024):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}:{number}", row
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise DataError(f"is no Parquet file, or torn ({error})", where=path) from None


def text_pieces(path: str, encoding: str) -> Iterator[tuple[str, str]]:
    """A text file as one document, or a long one as pieces of some kB, cut at blank lines."""
    held, number = "", 1
    for block in blocks(path, encoding):
        held += block.replace("\r\n", "\n")
        start = 0
        while len(held) - start > LARGEST_PIECE:
            end = _cut(held, start)
            yield f"{path}:{number}", held[start:end]
            number, start = number + held.count("\n", start, end), end
        held = held[start:]
    if held:
        yield f"{path}:{number}", held


def _cut(text: str, start: int) -> int:
    """Where a piece of a long text ends: after a blank line, else a line, else a word, else anywhere."""
    for separator in ("\n\n", "\n", " "):
        place = text.find(separator, start + PIECE, start + LARGEST_PIECE)
        if place >= 0:
            return place + len(separator)
    return start + LARGEST_PIECE


ROW_READERS: dict[str, Callable[[str, str], Rows]] = {
    ".jsonl": jsonl_rows,
    ".ndjson": jsonl_rows,
    ".json": json_rows,
    ".csv": csv_rows,
    ".tsv": tsv_rows,
    ".parquet": parquet_rows,
}

SUFFIXES = (".txt", ".text", ".md", ".markdown", *ROW_READERS)
"""The endings that are read in folders; a file that is named itself is read as text if it has another one."""
