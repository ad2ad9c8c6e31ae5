"""DOCX: paragraphs and tables in their order."""

from collections.abc import Iterator
from typing import Any

from dodam.data.readers.packed import LARGEST_DOCUMENT, missing, readable, seekable, zipped
from dodam.data.readers.row import Prose, Rows


def docx_rows(path: str, encoding: str) -> Rows:
    """A file as one document: a paragraph a line, a table's row a line, its cells apart by ` | `."""
    try:
        from docx import Document
    except ImportError:
        raise missing("python-docx", path) from None

    with zipped(path, "DOCX", LARGEST_DOCUMENT):
        pass  # its sizes are right
    with seekable(path) as file, readable(path, "DOCX"):
        document = Document(file)
        text = "\n".join(_lines(document))
        title = document.core_properties.title or ""
    yield f"{path}:1", Prose(text=text, title=title)


def _lines(part: Any) -> Iterator[str]:
    """The lines of a document or of a cell."""
    for block in part.iter_inner_content():
        if not hasattr(block, "rows"):
            yield block.text
            continue
        for row in block.rows:
            cells = {id(cell._tc): cell for cell in row.cells}  # a merged cell stands in each of its places
            yield " | ".join(" ".join(filter(str.strip, _lines(cell))) for cell in cells.values())
