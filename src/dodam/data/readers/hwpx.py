"""HWPX, the open format of Hancom's word processor (KS X 6101): a zip of XML, read with the standard library.

Text stands in p/run/t, a table's in tbl/tr/tc, which a run may hold; footnotes and the like are inside runs too.
"""

import re
from collections.abc import Iterator
from xml.etree.ElementTree import Element
from zipfile import ZipFile

from dodam.data.readers import xml
from dodam.data.readers.packed import LARGEST_DOCUMENT, zipped
from dodam.data.readers.row import Prose, Rows
from dodam.errors import DataError

MANIFEST = "META-INF/manifest.xml"
SECTION = re.compile(r"Contents/section(\d+)\.xml")
LEFT_OUT = ("t", "secPr", "header", "footer")  # a paragraph's own text; what stands on every page
BREAKS = {"lineBreak": "\n", "tab": "\t", "nbSpace": " ", "fwSpace": " ", "hyphen": "-"}


def hwpx_rows(path: str, encoding: str) -> Rows:
    """A file as one document: sections in order, a paragraph a line, a table's row a line, its cells apart by ` | `."""
    with zipped(path, "HWPX", LARGEST_DOCUMENT) as archive:
        if MANIFEST in archive.namelist() and b"encryption-data" in archive.read(MANIFEST):
            raise DataError("is encrypted", where=path, mend="Save it without a password.")
        numbers = sorted(int(found[1]) for name in archive.namelist() if (found := SECTION.fullmatch(name)))
        if not numbers:
            raise DataError("is no HWPX file, or torn (it has no section)", where=path)
        text = "\n".join(line for number in numbers for line in _section(archive, number, path))
    yield f"{path}:1", Prose(text=text)


def _section(archive: ZipFile, number: int, path: str) -> Iterator[str]:
    name = f"Contents/section{number}.xml"
    yield from _lines(xml.parse(archive.read(name), f"{path}!{name}"))


def _lines(part: Element) -> Iterator[str]:
    """The lines of a section, a cell or a note: its paragraphs, and behind each what it holds of tables and notes."""
    for paragraph in part.findall("p"):
        line = "".join(_text(piece) for piece in paragraph.iterfind("run/t"))
        held = [inner for element in paragraph.iterfind("run/*") for inner in _held(element)]
        yield from [line, *held] if line or not held else held


def _text(piece: Element) -> str:
    """The text of a `t`, whose tabs and line breaks are elements."""
    parts = [piece.text or ""]
    for mark in piece:
        parts += [BREAKS.get(mark.tag, ""), mark.tail or ""]
    return "".join(parts)


def _held(element: Element) -> Iterator[str]:
    """The lines of what is anchored in a run: a table row by row; of all else (text boxes, notes) its paragraphs."""
    if element.tag == "tbl":
        for row in element.findall("tr"):
            yield " | ".join(" ".join(line for line in _cell(cell) if line) for cell in row.findall("tc"))
    elif element.tag == "subList":
        yield from _lines(element)
    elif element.tag not in LEFT_OUT:
        for inner in element:
            yield from _held(inner)


def _cell(cell: Element) -> Iterator[str]:
    for inner in cell.findall("subList"):
        yield from _lines(inner)
