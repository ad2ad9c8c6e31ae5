"""One reader for each file format. In: a path and an encoding. Out: rows (or, in place of a row, the DataError that
tells why it cannot be read) with FILE:LINE. Files are streamed; what spoils a whole file is raised.
"""

from dodam.data.readers.archives import tar_rows, zip_rows
from dodam.data.readers.columnar import arrow_rows, parquet_rows
from dodam.data.readers.docx import docx_rows
from dodam.data.readers.encodings import encoding_of
from dodam.data.readers.epub import epub_rows
from dodam.data.readers.html import html_rows
from dodam.data.readers.hwpx import hwpx_rows
from dodam.data.readers.jsons import json_rows, jsonl_rows
from dodam.data.readers.packed import suffix
from dodam.data.readers.pdf import pdf_rows
from dodam.data.readers.row import Prose, Reader, Row, Rows
from dodam.data.readers.tables import csv_rows, tsv_rows
from dodam.data.readers.text import lines, text_pieces, text_rows
from dodam.data.readers.warc import warc_rows

__all__ = [
    "MENDS",
    "ROW_READERS",
    "SUFFIXES",
    "Prose",
    "Reader",
    "Row",
    "Rows",
    "encoding_of",
    "lines",
    "reader_of",
    "suffix",
    "text_pieces",
    "text_rows",
]

ROW_READERS: dict[str, Reader] = {
    ".jsonl": jsonl_rows,
    ".ndjson": jsonl_rows,
    ".json": json_rows,
    ".csv": csv_rows,
    ".tsv": tsv_rows,
    ".parquet": parquet_rows,
    ".arrow": arrow_rows,
    ".feather": arrow_rows,
    ".html": html_rows,
    ".htm": html_rows,
    ".xhtml": html_rows,
    ".warc": warc_rows,
    ".epub": epub_rows,
    ".pdf": pdf_rows,
    ".docx": docx_rows,
    ".hwpx": hwpx_rows,
    ".zip": zip_rows,
    ".tar": tar_rows,
    ".tgz": tar_rows,
}

SUFFIXES = (".txt", ".text", ".md", ".markdown", *ROW_READERS)
"""The endings that are read in folders; a file that is named itself is read as text if it has another one."""

MENDS = {
    ".hwp": "Save it as HWPX in the word processor.",
    ".doc": "Save it as DOCX in the word processor.",
    ".rtf": "Save it as DOCX in the word processor.",
    ".7z": "Unpack it first.",
    ".rar": "Unpack it first.",
}
"""Endings of files that hold text which nothing here reads, and what to do."""


def reader_of(path: str) -> Reader:
    """The reader for a file's ending; that of plain text for one nobody knows."""
    return ROW_READERS.get(suffix(path), text_rows)
