"""CSV and TSV; the first line names the columns, and tells whether a CSV is one of semicolons or tabs."""

import csv
from collections.abc import Callable
from itertools import chain
from typing import Any

from dodam.data.readers.notes import note
from dodam.data.readers.row import Rows
from dodam.data.readers.text import LONGEST_LINE, lines
from dodam.errors import DataError

SIGNS = {";": "semicolons", "\t": "tabs"}


def csv_rows(path: str, encoding: str) -> Rows:
    """Comma-separated values; the first line names the columns. Where it has no comma but a semicolon or a tab, as
    office programs of some countries write it, that stands between the values."""
    rest = lines(path, encoding)
    first = next(rest, "")
    comma = next((sign for sign in ",;\t" if sign in first), ",")
    if comma != ",":
        note(f"files .csv with {SIGNS[comma]} between their columns")
    yield from _table(path, csv.reader(chain([first] if first else [], rest), delimiter=comma, strict=True))


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
