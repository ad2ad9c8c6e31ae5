"""Web pages that stand in a column as they came: the main text of each, without markup, menus and footers.

In: a batch. Out: the same documents, pages turned into text and counted. Only a text that is a page as a whole is read
as one (it begins with its doctype or `<html>`, or begins and ends with a tag and has paragraphs), so that an article
about HTML keeps its examples. Files that are HTML come as text from their reader and are not seen here.
"""

import re
from typing import TYPE_CHECKING

from dodam.data.outcome import Outcome, edits, texts_of
from dodam.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

REASON = "documents changed: web page to text"
PAGE = re.compile(r"\s*(?:<\?xml[^>]*>\s*)?(?:<!doctype html|<html[\s>])", re.IGNORECASE)
FRAGMENT = re.compile(r"\s*<(?:body|div|article|main|section|p|table|ul|ol|h[1-6])[\s>]", re.IGNORECASE)
CLOSED = re.compile(r"</(?:p|div|li|td|article|section)\s*>", re.IGNORECASE)
PARTS = 2  # closed paragraphs or boxes from which a fragment is a page


def boilerplate(batch: "pa.RecordBatch") -> Outcome:
    """Every text that is a web page as its main text. UsageError without the package resiliparse."""
    texts = texts_of(batch)
    changed = {row: main_text(text) for row, text in enumerate(texts) if is_page(text)}
    return edits(batch, texts, changed, REASON)


def is_page(text: str) -> bool:
    """Whether a text is HTML as a whole."""
    if not text[:64].lstrip().startswith("<"):
        return False
    if PAGE.match(text):
        return True
    return bool(FRAGMENT.match(text)) and text.rstrip().endswith(">") and len(CLOSED.findall(text)) >= PARTS


def main_text(page: str) -> str:
    """The main content of a page as plain text; all of the text of a fragment, and of a page without main content."""
    try:
        from resiliparse.extract.html2text import extract_plain_text
    except ImportError:
        mend = "Install it with pip install 'dodam[data]', or leave pages as they are: --clean.no-boilerplate."
        raise UsageError("a text is a web page, and reading it needs the package resiliparse", mend=mend) from None
    if PAGE.match(page) and (text := extract_plain_text(page, main_content=True)):
        return text.strip()
    return extract_plain_text(page).strip()  # of a fragment all is content
