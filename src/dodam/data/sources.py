"""Rows and documents out of files of every format that data/readers knows, and `sample:NAME`.

In: paths of files, folders and globs. Out: rows with where they came from ("file.jsonl:12", row), or `Document`s.
Everything is streamed. What cannot be read is a DataError with file and line, or is skipped and counted.
"""

import glob
import os
import re
import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Gt

from dodam import files
from dodam.data.readers import MENDS, ROW_READERS, SUFFIXES, Prose, Row, reader_of, suffix, text_rows
from dodam.data.readers.chats import with_chats
from dodam.data.readers.columnar import DATASET, dataset_files, dataset_of
from dodam.data.readers.encodings import AUTO
from dodam.data.readers.hub import HUB, hub_rows, parts, revision
from dodam.data.readers.notes import note, tell
from dodam.data.skipped import Skipped
from dodam.data.text import clean, language, storable
from dodam.errors import DataError, UsageError

SAMPLE = "sample:"
SAMPLES = ("text", "chat", "tests", "preferences", "problems", "problems-tests")
SAMPLE_SEED = 1

TABLES = (".csv", ".tsv", ".parquet", ".arrow", ".feather")
"""Files whose rows all have the same columns, so that a column can be named by its number."""


@dataclass(frozen=True)
class Source:
    """Where text comes from, and how much of it is wanted."""

    path: str
    """A file, a folder, a glob, a dataset of the hub (`hf:owner/name:train`), or `sample:text`."""
    weight: Annotated[float, Gt(0)] = 1.0
    """How many times as often as the others it is read in training."""
    name: str = ""
    """What reports call it. Default: by the name of the file."""
    epochs: Annotated[float, Ge(0)] = 0.0
    """How often at most a whole training run reads it; then the other sources go on without it. 0: no limit."""


@dataclass(frozen=True)
class Input:
    """One file to read (or `sample:NAME`), with the source it belongs to and that source's name in reports."""

    path: str
    source: Source
    name: str


@dataclass(frozen=True)
class Document:
    """One text; `id` is FILE:LINE, `language` is ko, en or other, or nothing where it is yet to be found out."""

    text: str
    id: str
    source: str
    language: str
    license: str


NAMED = (".jsonl", ".ndjson", ".json", ".warc", ".zip", ".tar", ".tgz", *TABLES)
"""Files of many documents: each is a source by its own name."""


def rows(path: str, *, columns: dict[str, str] | None = None, skip_bad: bool = False) -> Iterator[tuple[str, Row]]:
    """The rows of a file, folder, glob or `sample:NAME`, each with FILE:LINE.

    `columns` {"prompt": "q"} adds the value of column q under the name prompt; in a table a column may also be named by
    its number, from 1. A row that cannot be read is a DataError; with `skip_bad` such rows are left out and their
    number is told."""
    skipped = Skipped(skip_bad)
    yield from read_rows(path, columns=columns or {}, encoding=AUTO, skipped=skipped)
    if skipped.count:
        print(f"{path}: {skipped}", file=sys.stderr)


def read_rows(
    path: str,
    *,
    columns: dict[str, str],
    encoding: str,
    skipped: Skipped,
    seed: int = SAMPLE_SEED,
    known: Collection[str] = (),
) -> Iterator[tuple[str, Row]]:
    """`rows` with an encoding, the seed of the bundled corpus, and a count of what was skipped.

    `known`: names of which a table's first line holds one, or one that `columns` names; else it is a row like the
    others, and columns are called by their numbers, from 1. Without any it always names the columns."""
    for file in [path] if path.startswith(SAMPLE) else files_of(path, skipped):
        rows = _file_rows(file, encoding, skipped, seed)
        if known and suffix(file) in TABLES[:2]:  # a Parquet's columns have names always
            rows = _with_first_line(file, rows, {*known, *(name.lower() for name in columns.values())})
        yield from _renamed(rows, columns, skipped, suffix(file) in TABLES)
    tell(path)


def _with_first_line(path: str, rows: Iterator[tuple[str, Row]], known: Collection[str]) -> Iterator[tuple[str, Row]]:
    """The rows of a table, its first line among them unless it names columns."""
    first = next(rows, None)
    if first is None:
        return
    header = list(first[1])
    if any(name.lower() in known for name in header):
        yield first
        yield from rows
        return
    numbers = [str(number) for number in range(1, len(header) + 1)]
    yield f"{path}:1", dict(zip(numbers, header, strict=True))
    for where, row in chain([first], rows):
        yield where, dict(zip(numbers, row.values(), strict=True))


def documents(
    inputs: Iterable[Input],
    *,
    columns: dict[str, str],
    encoding: str,
    skipped: Skipped,
    license: str = "",
    seed: int = SAMPLE_SEED,
    told: bool = True,
    raw: bool = False,
) -> Iterator[Document]:
    """The cleaned documents of all inputs, in order, or with `raw` as they were read and without their language. Rows
    give their column `text`, or the one that `columns` names for it; a plain text file is one document, a long one is
    split at blank lines, a chat into its conversations.

    What readers noted is told at the end, unless somebody else does so (not `told`)."""
    unknown = sorted(columns.keys() - {"text"})
    if unknown:
        raise UsageError(f"{unknown[0]} is nothing a document has", where="--columns", mend="Known: text.")
    for one in inputs:
        for where, text, row in _texts(one.path, columns, encoding, skipped, seed):
            text = storable(text) if raw else clean(text)
            found = "" if raw else language(text)
            yield Document(text, where, one.name, found, str(row.get("license") or license))
    if told:
        tell("reading")


def _texts(
    path: str, columns: dict[str, str], encoding: str, skipped: Skipped, seed: int
) -> Iterator[tuple[str, str, Row]]:
    rows = _file_rows(path, encoding, skipped, seed, texts=True)
    for where, row in _renamed(rows, columns, skipped, suffix(path) in TABLES) if columns else with_chats(rows):
        if isinstance(row, DataError):
            skipped.add(row)
            continue
        text = row.get("text", "")
        if "text" not in row:
            mend = "Name the column that holds it: --columns text=NAME."
            skipped.add(DataError(f"there is no column `text`; there are {_names(row)}", where=where, mend=mend))
        elif text is not None and not isinstance(text, str):
            skipped.add(DataError(f"`text` is no text but {type(text).__name__}", where=where))
        else:
            yield where, text or "", row


def _file_rows(
    path: str, encoding: str, skipped: Skipped, seed: int, *, texts: bool = False
) -> Iterator[tuple[str, Row]]:
    """The rows of one file; an error inside one row is skipped alone, one of the file ends it. Files of plain text have
    rows only where `texts` are wanted."""
    if path.startswith(SAMPLE):
        yield from _sample_rows(path, seed)
        return
    reader = hub_rows if path.startswith(HUB) else reader_of(path)
    if reader is not hub_rows and (mend := MENDS.get(suffix(path))):
        skipped.add(DataError(f"no file {suffix(path)} can be read", where=path, mend=mend), path)
        return
    if not texts and reader is text_rows:
        known = ", ".join(ROW_READERS)
        raise DataError("rows were expected, and this is no file of rows", where=path, mend=f"Known endings: {known}.")
    if os.path.isfile(path) and not os.path.getsize(path):
        note("files with nothing in them")
    with closing(reader(path, encoding)) as found:  # with its temporary files, whatever happens
        while True:
            try:
                where, row = next(found)
            except StopIteration:
                return
            except DataError as error:
                skipped.add(error, path)
                return
            if isinstance(row, DataError):
                skipped.add(row)
            else:
                yield where, row


def _sample_rows(path: str, seed: int) -> Iterator[tuple[str, Row]]:
    from dodam.sample import corpus

    name = path.removeprefix(SAMPLE)
    if name not in SAMPLES:
        raise DataError("is not part of the bundled corpus", where=path, mend=f"Known: {', '.join(SAMPLES)}.")
    for number, row in enumerate(getattr(corpus, name.replace("-", "_"))(seed), start=1):
        yield f"{path}:{number}", row


def _renamed(
    rows: Iterator[tuple[str, Row]], columns: dict[str, str], skipped: Skipped, numbered: bool
) -> Iterator[tuple[str, Row]]:
    for where, row in rows:
        if isinstance(row, Prose):
            yield where, row
            continue
        names = {role: _column(row, name) if numbered else name for role, name in columns.items()}
        missing = [name for name in names.values() if name not in row]
        if missing:
            mend = f"There are {_names(row)}."
            skipped.add(DataError(f"there is no column `{missing[0]}`", where=where, mend=mend))
        else:
            yield where, {**row, **{role: row[name] for role, name in names.items()}}


def _column(row: Row, name: str) -> str:
    """The column of that name; where there is none and the name is a number, the column in that place, from 1."""
    if name in row or not re.fullmatch(r"[1-9][0-9]{0,5}", name):
        return name
    return next(islice(row, int(name) - 1, None), name)


def _names(row: Row) -> str:
    return ", ".join(f"`{name}`" for name in row)


def files_of(path: str, skipped: Skipped | None = None) -> list[str]:
    """The files a path stands for: itself, what a glob matches, all of a folder that has a known ending. Sorted; what
    begins with a dot is left out. DataError when there is none, or where a folder cannot be read and such may not be
    `skipped`."""
    if path.startswith(HUB):
        return [path]
    place = Path(path).expanduser()
    if place.is_file():
        return [str(place)]
    if place.is_dir():
        read = _read_of(path, _files_below(place, skipped or Skipped(False)))
    elif glob.has_magic(path):
        read = [file for file in map(Path, glob.glob(str(place), recursive=True)) if file.is_file()]
    else:
        raise DataError("there is no such file or folder", where=path, mend="Is the path right?")
    if not read:
        raise DataError("no file here can be read", where=path, mend=f"Known endings: {', '.join(SUFFIXES)}.")
    return [str(file) for file in sorted(read)]


def _read_of(path: str, found: list[Path]) -> list[Path]:
    """Those files of a folder that are read; how many are not, and why, is told."""
    datasets = {file.parent: dataset_files(file.parent) for file in found if file.name in DATASET}
    datasets = {folder: rows for folder, rows in datasets.items() if rows or (folder / DATASET[1]).is_file()}
    rows = {file for files in datasets.values() for file in files}
    found = [file for file in found if file in rows or not _beside(file, datasets)]
    read = [file for file in found if suffix(str(file)) in SUFFIXES]
    if len(read) < len(found):
        others = sorted({file.suffix or file.name for file in found} - {file.suffix for file in read})
        note(f"files of {path} left out for their endings ({', '.join(others[:8])})", len(found) - len(read))
        for ending in filter(MENDS.__contains__, others):
            print(f"{path}: no file {ending} can be read. {MENDS[ending]}", file=sys.stderr)
    return read


def _beside(file: Path, datasets: Collection[Path]) -> bool:
    """Whether a file stands beside the rows of a saved dataset: what describes it, or was computed from it."""
    return file.parent in datasets and (file.name in DATASET or file.suffix == ".arrow")


def _files_below(folder: Path, skipped: Skipped) -> list[Path]:
    """All files of a folder and below, those behind links too, no folder twice."""

    def refuse(error: OSError) -> None:
        mend = "Mend its permissions, or name what can be read."
        skipped.add(
            DataError(f"cannot be read ({error.strerror})", where=str(error.filename), mend=mend), error.filename
        )

    found: list[Path] = []
    seen = {_identity(folder)}
    for place, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        inner = []
        for name in sorted(name for name in folders if not name.startswith(".")):
            if (identity := _identity(Path(place, name))) not in seen:
                seen.add(identity)
                inner.append(name)
        folders[:] = inner
        found += [Path(place, name) for name in names if not name.startswith(".")]
    note("links that lead nowhere left out", sum(file.is_symlink() and not file.exists() for file in found))
    return [file for file in found if file.is_file()]


def _identity(folder: Path) -> tuple[int, int]:
    """What a folder is called by the disk: a link to it has the same."""
    state = folder.stat()
    return state.st_dev, state.st_ino


def inputs_of(sources: Iterable[str | Source], skipped: Skipped | None = None) -> list[Input]:
    """Every file of all sources, with a name for reports. No file twice; no name for two sources. Folders that cannot
    be read are a DataError, or `skipped`. UsageError for a file that two sources want with different weights, limits
    or names, and where every source has a limit of epochs."""
    inputs: dict[str, Input] = {}
    taken: dict[str, Source] = {}
    for entry in sources:
        source = Source(entry) if isinstance(entry, str) else entry
        sample = source.path.startswith(SAMPLE)
        for path in [source.path] if sample else files_of(source.path, skipped):
            key = path if path.startswith((SAMPLE, HUB)) else str(Path(path).resolve())
            if key in inputs:
                wanted = inputs[key].source
                if (wanted.weight, wanted.name, wanted.epochs) != (source.weight, source.name, source.epochs):
                    mend = f"It is in {wanted.path} and in {source.path}."
                    raise UsageError(
                        "belongs to two sources of different weight, name or epochs", where=path, mend=mend
                    )
                continue
            name = source.name or ("sample" if sample else _name(path, source.path))
            if taken.get(name, source) is not source and not source.name:
                name = f"{Path(path).absolute().parent.name}-{name}"
            while taken.get(name, source) is not source:
                name = f"{name}-{len(taken) + 1}"
            taken[name] = source
            inputs[key] = Input(path, source, name)
    if inputs and all(one.source.epochs for one in inputs.values()):
        mend = "Leave one source without `epochs`; it is read when the others are used up."
        raise UsageError("every source has a limit of epochs", where="--data", mend=mend)
    return list(inputs.values())


def _name(path: str, asked: str) -> str:
    """A file of rows goes by its own name, its numbers (`train-00001`) left off; a saved dataset by its folder's, files
    of text by their folder's too."""
    if path.startswith(HUB):
        return parts(path)[0].rpartition("/")[2]
    if dataset := dataset_of(Path(path)):
        return dataset.name
    if path != asked and suffix(path) not in NAMED:
        folder = Path(asked) if Path(asked).is_dir() else Path(path).parent
        return folder.absolute().name or "text"
    stem = Path(path).name.split(".")[0]
    return re.sub(r"[-_](\d{5,}|\d+-of-\d+)$", "", stem) or stem


def checksum(path: str) -> str:
    """Changes whenever the file's content does (for the bundled corpus: whenever the files that make it do)."""
    if path.startswith(HUB):
        return revision(path)
    if not path.startswith(SAMPLE):
        try:
            return files.xxh3(path)
        except OSError as error:
            raise DataError(f"cannot be read ({error.strerror})", where=path) from None
    import xxhash

    from dodam import sample

    made_by = sorted(file for file in Path(next(iter(sample.__path__))).iterdir() if file.is_file())
    return xxhash.xxh3_128("".join(files.xxh3(file) for file in made_by).encode()).hexdigest()
