"""Texts with entities: who, where, when in them. Read from CoNLL files (a unit and its tag a line) and from rows.

In come files; out come texts as they are, with their entities by character, each with FILE:LINE. What cannot be used is
a DataError that names it.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import xxhash

from dodam.data.labels import STDIN, Labels, Row, column_of, read_table
from dodam.data.readers import ROW_READERS, lines, suffix
from dodam.data.skipped import OR_SKIP, Skipped
from dodam.data.sources import TABLES, files_of, read_rows
from dodam.errors import DataError, UsageError

OUTSIDE = "O"
USUAL = {
    "text": ("text", "document", "sentence", "title", "content", "review", "comment"),
    "entities": ("entities",),
    "tokens": ("tokens", "words"),
    "tags": ("tags", "ner_tags"),
}
"""What columns are called, the likeliest first."""
ROWS = tuple(ending for ending in ROW_READERS if ending not in (".csv", ".tsv"))  # whose cells can hold lists


class Entity(NamedTuple):
    """The characters [start, end) of a text, and what they are."""

    start: int
    end: int
    label: str


@dataclass(frozen=True)
class TaggedText:
    """A text as it was given, and its entities in their order, none over another."""

    text: str
    entities: tuple[Entity, ...]
    where: str


def read_tagged(
    data: Sequence[str],
    *,
    columns: Mapping[str, str] | None = None,
    labels: Labels | None = None,
    encoding: str = "auto",
    skip_bad: bool = False,
    skipped: Skipped | None = None,
) -> list[TaggedText]:
    """All texts of files, folders and globs. `labels`: the set their entities must be of, where it is given. A text
    that cannot be used is a DataError, or with `skip_bad` left out."""
    columns = dict(columns or {})
    if unknown := sorted(columns.keys() - USUAL.keys()):
        mend = f"Known: {', '.join(USUAL)}."
        raise UsageError(f"{unknown[0]} is nothing a tagged text has", where="--columns", mend=mend)
    skipped = skipped or Skipped(skip_bad, OR_SKIP)
    found: list[TaggedText] = []
    for path in chain.from_iterable(map(files_of, data)):
        rows = suffix(path) in ROWS
        texts = rows_of(path, columns, labels, encoding, skipped) if rows else conll(path, labels, encoding)
        for one in texts:
            try:
                if isinstance(one, DataError):
                    raise one
                found.append(checked(one, labels))
            except DataError as error:
                skipped.add(error)
    skipped.tell()
    if not found:
        raise DataError("holds no texts", where=", ".join(data), mend="Name files with texts in them.")
    return found


def rows_of(
    path: str, columns: Mapping[str, str], labels: Labels | None, encoding: str, skipped: Skipped
) -> Iterator[TaggedText | DataError]:
    """The texts of a file of rows: `text` and `entities`, or `tokens` and `tags`."""
    for where, row in read_rows(path, columns={}, encoding=encoding, skipped=skipped):
        roles = roles_in(row, columns, where, numbered=suffix(path) in TABLES)
        try:
            yield of_row(row, roles, labels, where)
        except DataError as error:
            yield error


def roles_in(row: Row, columns: Mapping[str, str], where: str, *, numbered: bool) -> dict[str, str]:
    """Role -> column of a row. UsageError for a column that was named and is not there, DataError where those that a
    text needs cannot be found."""
    there = ", ".join(f"`{name}`" for name in row)
    roles = {}
    for role, usual in USUAL.items():
        if role in columns:
            column = column_of(row, columns[role], numbered=numbered)
            if column is None:
                raise UsageError(f"there is no column `{columns[role]}`", where=where, mend=f"There are {there}.")
            roles[role] = column
        elif free := [name for name in usual if name in row]:
            roles[role] = free[0]
    if not ({"text", "entities"} <= roles.keys() or {"tokens", "tags"} <= roles.keys()):
        mend = f"Name them: --columns text=NAME --columns entities=NAME. There are {there}."
        raise UsageError("there are no columns of texts and entities, or of tokens and tags", where=where, mend=mend)
    return roles


def of_row(row: Row, roles: Mapping[str, str], labels: Labels | None, where: str) -> TaggedText:
    """A row as a text. DataError for what is no text, and for entities or tags that cannot be read."""
    if {"text", "entities"} <= roles.keys():
        text = row[roles["text"]]
        if not isinstance(text, str):
            raise DataError(f"the text is no text but {type(text).__name__}", where=where)
        return TaggedText(text, tuple(sorted(entities_of(row[roles["entities"]], where))), where)
    tokens, tags = row[roles["tokens"]], row[roles["tags"]]
    for name, cells in (("tokens", tokens), ("tags", tags)):
        if not isinstance(cells, list) or not all(isinstance(cell, str) for cell in cells):
            raise DataError(f"{name} are a list of texts, not {short(cells)}", where=where)
    if len(tokens) != len(tags):
        raise DataError(f"there are {len(tokens)} tokens and {len(tags)} tags", where=where)
    return joined(list(zip(tokens, tags, strict=True)), " ", [where] * len(tags) or [where], labels)


def entities_of(value: Any, where: str) -> Iterator[Entity]:
    """What a row tells of its entities. DataError for anything but a list of start, end and label."""
    for one in value if isinstance(value, list) else [value]:
        cells = one if isinstance(one, dict) else {}
        start, end, label = cells.get("start"), cells.get("end"), cells.get("label")
        numbers = isinstance(start, int) and isinstance(end, int) and bool not in (type(start), type(end))
        if not numbers or not isinstance(label, str) or not label.strip():
            mend = 'It is {"start": 0, "end": 3, "label": "PS"}.'
            raise DataError(f"an entity cannot be read: {short(one)}", where=where, mend=mend)
        yield Entity(start, end, label.strip())


def short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:60]} ..."


def conll(path: str, labels: Labels | None, encoding: str) -> Iterator[TaggedText | DataError]:
    """The texts of a file with a unit and its tag on every line and a blank one between texts. Units are characters,
    and joined as they are, where all of the file are one character long; else words, joined by a space."""
    if suffix(path) == ".csv":
        mend = "Give JSONL or Parquet with text and entities, or lines of a word, a tab and its tag."
        raise DataError("entities are not read from CSV", where=path, mend=mend)
    sentences = list(sentences_of(path, encoding))
    units = (unit for sentence in sentences for unit, _, _ in sentence if unit is not None)
    between = "" if all(len(unit) == 1 for unit in units) else " "
    for sentence in sentences:
        places = [where for _, _, where in sentence]
        bare = next((where for unit, _, where in sentence if unit is None), None)
        if bare is not None:
            yield DataError("a line holds a word and its tag", where=bare, mend="Columns are set apart by a tab.")
            continue
        try:
            yield joined([(unit or "", tag) for unit, tag, _ in sentence], between, places, labels)
        except DataError as error:
            yield error


def sentences_of(path: str, encoding: str) -> Iterator[list[tuple[str | None, str, str]]]:
    """(unit, tag, FILE:LINE) of each sentence's lines; a unit of None where a line has one column only."""
    held: list[tuple[str | None, str, str]] = []
    for number, line in enumerate(lines(path, encoding), start=1):
        line = line.rstrip("\r\n")
        if line.startswith(("## ", "-DOCSTART-")) or line == "##":
            continue
        if not line.strip():
            if held:
                yield held
            held = []
            continue
        cells = line.split("\t") if "\t" in line else line.split()
        unit = cells[0] if len(cells) > 1 and cells[0] else None
        held.append((unit, cells[-1].strip(), f"{path}:{number}"))
    if held:
        yield held


def joined(units: Sequence[tuple[str, str]], between: str, places: Sequence[str], labels: Labels | None) -> TaggedText:
    """Units with tags as a text with entities. DataError for a tag of another kind or set, at its own place."""
    found: list[Entity] = []
    texts: list[str] = []
    length, last = 0, OUTSIDE
    for (unit, tag), where in zip(units, places, strict=False):
        length += len(between) if texts else 0
        if tag != OUTSIDE and (tag[:2] not in ("B-", "I-") or not tag[2:].strip()):
            raise DataError(f"the tag {tag!r} is none of O, B-LABEL and I-LABEL", where=where)
        if tag != OUTSIDE and labels:
            labels.name(tag[2:].strip(), where)
        if begins(tag, last):
            found.append(Entity(length, length + len(unit), tag[2:].strip()))
        elif tag != OUTSIDE:
            found[-1] = found[-1]._replace(end=length + len(unit))
        length, last = length + len(unit), tag
        texts.append(unit)
    return TaggedText(between.join(texts), tuple(found), places[0])


def begins(tag: str, last: str) -> bool:
    """Whether an entity begins at a tag that follows another: at B-X, and at I-X that follows neither B-X nor I-X."""
    return tag != OUTSIDE and (tag.startswith("B-") or last == OUTSIDE or last[2:] != tag[2:])


def checked(one: TaggedText, labels: Labels | None) -> TaggedText:
    """A text whose entities are of the set, inside it, apart, and without white space at their ends. DataError for one
    that is not so."""
    text, where = one.text, one.where
    if not text.strip():
        raise DataError("the text is empty", where=where)
    found: list[Entity] = []
    for start, end, label in one.entities:
        if not 0 <= start < end <= len(text):
            what = f"the entity {start}-{end} lies outside the text, which has {len(text)} characters"
            raise DataError(what if start < end else f"the entity {start}-{end} is empty", where=where)
        inside = text[start:end]
        if not inside.strip():
            raise DataError(f"the entity {start}-{end} is white space", where=where)
        if found and start < found[-1].end:
            what = f"the entities {found[-1].start}-{found[-1].end} and {start}-{end} overlap"
            raise DataError(what, where=where)
        start, end = end - len(inside.lstrip()), start + len(inside.rstrip())
        found.append(Entity(start, end, labels.name(label, where) if labels else label))
    return TaggedText(text, tuple(found), where)


def labels_of(texts: Iterable[TaggedText]) -> Labels:
    """The labels that stand in the data, by the alphabet. DataError where there is none."""
    names = {entity.label for one in texts for entity in one.entities}
    if not names:
        raise DataError("no text has an entity", mend="Is it the right file? See --columns.")
    return Labels(tuple(sorted(names)), {})


def tags_of(names: Sequence[str]) -> tuple[str, ...]:
    """The tags of a set of labels: O, and for each label the one that begins an entity and the one inside."""
    return (OUTSIDE, *(f"{prefix}-{name}" for name in names for prefix in "BI"))


def read_texts(data: str, *, columns: Mapping[str, str], encoding: str) -> list[TaggedText]:
    """Texts alone, as they are: lines, or rows with a column of texts. DataError names one that is empty."""
    if unknown := sorted(columns.keys() - {"text"}):
        raise UsageError(f"{unknown[0]} is nothing that is read here", where="--columns", mend="Known: text.")
    found = []
    for path in [data] if data == STDIN else files_of(data):
        named = columns.get("text")
        if suffix(path) in ROW_READERS or named:
            texts = column_texts(path, named, encoding)
        else:
            whole = sys.stdin if path == STDIN else lines(path, encoding)
            texts = ((f"{path}:{number}", line.rstrip("\r\n")) for number, line in enumerate(whole, start=1))
        for where, text in texts:
            if not isinstance(text, str) or not text.strip():
                raise DataError("the text is empty", where=where)
            found.append(TaggedText(text, (), where))
    if not found:
        raise DataError("holds no texts", where=data)
    return found


def column_texts(path: str, named: str | None, encoding: str) -> Iterator[tuple[str, Any]]:
    """The cells of a column of texts, the one named or one that is called as they mostly are."""
    numbered = suffix(path) in TABLES or suffix(path) not in ROW_READERS
    for where, row in read_table(path, {"text": named} if named else {}, encoding, Skipped(False), labelled=False):
        usual = next((name for name in USUAL["text"] if name in row), None)
        column = column_of(row, named, numbered=numbered) if named else usual
        if column is None:
            there = ", ".join(f"`{name}`" for name in row)
            what = f"there is no column `{named}`" if named else "there is no column of texts"
            raise UsageError(what, where=where, mend=f"Name it: --columns text=NAME. There are {there}.")
        yield where, row[column]


def fingerprint(texts: Iterable[TaggedText]) -> str:
    """Changes with every text and every entity."""
    hasher = xxhash.xxh3_64()
    for one in texts:
        hasher.update(f"{one.text}\x1e{one.entities!r}\x1e".encode("utf-8", "surrogatepass"))
    return hasher.hexdigest()
