"""HTML: the main text of a page without its menus, its title as the first line."""

import re
from typing import Any

from dodam.data.readers.encodings import decoded
from dodam.data.readers.packed import missing, readable, whole
from dodam.data.readers.row import Prose, Rows

DECLARED = re.compile(rb"""<(?:meta|\?xml)[^>]*?(?:charset|encoding)\s*=\s*["']?\s*([\w-]+)""", re.IGNORECASE)
HEAD = 4096  # bytes in which a page declares its encoding
SHORT = 250  # characters; of shorter pages the extractor keeps menus and all


def html_rows(path: str, encoding: str) -> Rows:
    """A page as one document; `title` is in its row too."""
    text = page_of(whole(path), encoding, path)
    with readable(path, "HTML"):
        title, main = main_text(text, path)
    yield f"{path}:1", Prose(text=titled(title, main), title=title)


def page_of(data: bytes, encoding: str, where: str, declared: str = "") -> str:
    """The source of a page; what it declares itself counts more than what was `declared` for it."""
    found = DECLARED.search(data[:HEAD])
    return decoded(data, encoding, where, found[1].decode() if found else declared)


def main_text(page: str, path: str) -> tuple[str, str]:
    """The title of a page and its main text. UsageError where what reads it is not installed."""
    try:
        from trafilatura import bare_extraction
    except ImportError:
        raise missing("trafilatura", path) from None

    found: Any = bare_extraction(page, with_metadata=True, include_comments=False) if page.strip() else None
    title, text = (found.title or "", found.text or "") if found else ("", "")
    if len(text) >= SHORT:
        return title, text
    other, text = plain_text(page, path)
    return title or other, text


def plain_text(page: str, path: str, *, main: bool = True) -> tuple[str, str]:
    """`main_text` by rules that are fast and simple; with `main` off, all text of the page."""
    try:
        from resiliparse.extract.html2text import extract_plain_text
        from resiliparse.parse.html import HTMLTree
    except ImportError:
        raise missing("resiliparse", path) from None

    tree = HTMLTree.parse(page)
    return (tree.title or "").strip(), extract_plain_text(tree, main_content=main)


def titled(title: str, text: str) -> str:
    """The text, if there is one, with its title above it, if it does not begin with it anyway."""
    return text if not title or not text.strip() or text.lstrip().startswith(title) else f"{title}\n\n{text}"
