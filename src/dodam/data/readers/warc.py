"""WARC, the archives of crawled pages: of each page that was fetched with success its main text."""

from typing import Any

from dodam.data.readers.html import plain_text, titled
from dodam.data.readers.notes import note
from dodam.data.readers.packed import missing, opened, readable
from dodam.data.readers.row import Prose, Rows
from dodam.errors import DataError

PAGES = ("text/html", "application/xhtml+xml")
LARGEST_PAGE = 1 << 24  # bytes


def warc_rows(path: str, encoding: str) -> Rows:
    """A document for each response of status 200 that is HTML or plain text; `where` has the number of the record."""
    try:
        from fastwarc.warc import ArchiveIterator, WarcRecordType
    except ImportError:
        raise missing("fastwarc", path) from None

    number = 0
    with opened(path) as file, readable(path, "WARC"):
        for number, record in enumerate(ArchiveIterator(file, parse_http=False), start=1):
            if record.record_type == WarcRecordType.response:
                yield from _page(f"{path}:{number}", record)
        if not number:
            raise DataError("holds no WARC record", where=path)


def _page(where: str, record: Any) -> Rows:
    """The document of a response; none where it is no page, an error where the page cannot be read."""
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding

    try:
        record.parse_http()
        answer = record.http_headers
        kind = record.http_content_type or ""
        if answer is None or answer.status_code != 200 or kind not in (*PAGES, "text/plain"):
            note("WARC responses left out that are no page of text, or were no success")
            return
        data = record.reader.read(LARGEST_PAGE + 1)
        if len(data) > LARGEST_PAGE:
            yield where, DataError(f"is a page of more than {LARGEST_PAGE >> 20} MB", where=where)
            return
        with readable(where, "HTML"):
            text = bytes_to_str(data, detect_encoding(data))
            title, text = plain_text(text, where) if kind in PAGES else ("", text)
    except DataError as error:
        yield where, error
        return
    yield where, Prose(text=titled(title, text), title=title, url=record.headers.get("WARC-Target-URI", ""))
