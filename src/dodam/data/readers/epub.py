"""EPUB: its chapters in the order they are read in."""

from posixpath import dirname, join, normpath
from urllib.parse import unquote
from zipfile import ZipFile

from dodam.data.readers import xml
from dodam.data.readers.encodings import AUTO, decoded
from dodam.data.readers.html import plain_text
from dodam.data.readers.packed import LARGEST_DOCUMENT, zipped
from dodam.data.readers.row import Prose, Rows
from dodam.errors import DataError

CONTAINER = "META-INF/container.xml"
ENCRYPTION = "META-INF/encryption.xml"
FONTS = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")  # scrambled fonts are no encryption


def epub_rows(path: str, encoding: str) -> Rows:
    """Each chapter of the spine as a document, with the book's title in its row; pages without text are left out."""
    with zipped(path, "EPUB", LARGEST_DOCUMENT) as archive:
        if _encrypted(archive, path):
            raise DataError("is encrypted", where=path, mend="A book with copy protection cannot be read.")
        title, chapters = _spine(archive, path)
        for name in chapters:
            where = f"{path}!{name}:1"
            if name not in archive.namelist():
                yield where, DataError("is a chapter that is not there", where=where)
                continue
            try:
                _, text = plain_text(decoded(archive.read(name), AUTO, where), where, main=False)
            except DataError as error:
                yield where, error
                continue
            if text.strip():
                yield where, Prose(text=text, title=title)


def _encrypted(archive: ZipFile, path: str) -> bool:
    if ENCRYPTION not in archive.namelist():
        return False
    ways = [one.get("Algorithm") for one in xml.parse(archive.read(ENCRYPTION), path).iter("EncryptionMethod")]
    return any(way not in FONTS for way in ways)


def _spine(archive: ZipFile, path: str) -> tuple[str, list[str]]:
    """The title, and the names of the chapters' files in order."""
    root = next(xml.parse(archive.read(CONTAINER), path).iter("rootfile"), None)
    if root is None:
        raise DataError("is no EPUB file, or torn (its container names no book)", where=path)
    package = root.get("full-path", "")
    book = xml.parse(archive.read(package), path)
    title = next((one.text or "" for one in book.iter("title")), "")
    hrefs = {item.get("id"): item.get("href", "") for item in book.iter("item")}
    wanted = [hrefs[one.get("idref")] for one in book.iter("itemref") if one.get("idref") in hrefs]
    return title, list(dict.fromkeys(normpath(join(dirname(package), unquote(name))) for name in wanted))
