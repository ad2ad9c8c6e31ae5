"""WARC, the archives of crawled pages: of each page that was fetched with success its main text."""

from collections.abc import Iterator
from typing import Any

from dodam.data.readers.encodings import AUTO
from dodam.data.readers.html import page_of, plain_text, titled
from dodam.data.readers.notes import note
from dodam.data.readers.packed import missing, opened, readable
from dodam.data.readers.row import Prose, Rows
from dodam.errors import DataError

PAGES = ("text/html", "application/xhtml+xml")
LARGEST_PAGE = 1 << 24  # bytes


def warc_rows(path: str, encoding: str) -> Rows:
    """A document for each response of status 200 that is HTML or plain text; `where` has the number of the record.

    A page of a crawl that cannot be read is left out and counted: there are many, and nobody can mend them."""
    try:
        from fastwarc.warc import ArchiveIterator, WarcRecordType
    except ImportError:
        raise missing("fastwarc", path) from None

    number = 0
    with opened(path) as file, readable(path, "WARC"):
        try:
            for number, record in enumerate(ArchiveIterator(file, parse_http=False), start=1):
                if record.record_type == WarcRecordType.response:
                    yield from ((f"{path}:{number}", row) for row in _page(f"{path}:{number}", record))
        except OSError as error:  # what fastwarc says of a torn record
            raise DataError(f"is no WARC file, or torn ({error})", where=path) from None
        if not number:
            raise DataError("holds no WARC record", where=path)


def _page(where: str, record: Any) -> Iterator[Prose]:
    """The document of a response, if there is one."""
    try:
        with readable(where, "HTML"):
            record.parse_http()
            answer, kind = record.http_headers, record.http_content_type or ""
            if answer is None or answer.status_code != 200 or kind not in (*PAGES, "text/plain"):
                note("WARC responses left out that are no page of text, or were no success")
                return
            data = record.reader.read(LARGEST_PAGE + 1)
            if len(data) > LARGEST_PAGE:
                note(f"WARC pages left out of more than {LARGEST_PAGE >> 20} MB")
                return
            text = page_of(data, AUTO, where, record.http_charset or "")
            title, text = plain_text(text, where) if kind in PAGES else ("", text)
    except (DataError, OSError):  # where the file itself is torn, reading on will tell
        note("WARC pages left out that cannot be read (their encoding is not sure, or they are torn)")
        return
    yield Prose(text=titled(title, text), title=title, url=record.headers.get("WARC-Target-URI", ""))
