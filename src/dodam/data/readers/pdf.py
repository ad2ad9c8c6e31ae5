"""PDF: the text of its pages."""

import re
from typing import Any

from dodam.data.readers.notes import note
from dodam.data.readers.packed import missing, readable, whole
from dodam.data.readers.row import Prose, Rows
from dodam.errors import DataError

PASSWORD = 4  # PDFium's error FPDF_ERR_PASSWORD
HYPHEN = re.compile("[\ufffe\x02](?:\r?\n)?")
"""What PDFium writes for a hyphen at the end of a line, inside a word."""


def pdf_rows(path: str, encoding: str) -> Rows:
    """A file as one document, pages apart by blank lines. Pages without any text are counted: nothing reads scans."""
    try:
        import pypdfium2
    except ImportError:
        raise missing("pypdfium2", path) from None

    data = whole(path)
    with readable(path, "PDF"):
        try:
            document = pypdfium2.PdfDocument(data)
        except pypdfium2.PdfiumError as error:
            if getattr(error, "err_code", 0) != PASSWORD:
                raise
            raise DataError("is encrypted", where=path, mend="Save it without a password.") from None
        with document:
            pages = [_page_text(document, number) for number in range(len(document))]
    note("pages of PDFs without any text (scans: there is no OCR)", sum(not page for page in pages))
    yield f"{path}:1", Prose(text="\n\n".join(page for page in pages if page))


def _page_text(document: Any, number: int) -> str:
    page = document[number]
    text = page.get_textpage()
    try:
        return HYPHEN.sub("", text.get_text_bounded()).replace("\r\n", "\n").strip()
    finally:
        text.close()
        page.close()
