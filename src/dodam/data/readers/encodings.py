"""Which encoding a text file is in, found out or as named, and the file's text in blocks.

Found out means: a byte-order mark; else UTF-8 if every byte agrees; else the bytes tell: ASCII and Hangul of two bytes
a character are UTF-16, common Hangul is cp949 (which holds EUC-KR), few and scattered high bytes are cp1252. Bytes that
tell nothing sure are named and not guessed at.
"""

import codecs
import os
import re
from collections.abc import Iterator
from functools import lru_cache

from dodam.data.readers.notes import note
from dodam.data.readers.packed import BLOCK, opened
from dodam.data.text import HANGUL
from dodam.errors import DataError, UsageError

AUTO = "auto"
LIKE_UTF8 = ("utf-8", "utf8", "utf_8", "utf-8-sig")
MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
OTHERWISE = "Is it text? Then name its encoding with --encoding."

SURE = 8  # characters beyond ASCII that no other encoding writes by chance
HIGH = re.compile(rb"[\x80-\xff]+")
NOT_ASCII = re.compile(r"[^\x00-\x7f]")
IDEOGRAPH = re.compile("[\u3400-\u9fff\uf900-\ufaff]")
PLAIN = re.compile("[\t\n\r -~가-힣ㄱ-ㅎㅏ-ㅣ]")
KS_X_1001 = re.compile(rb"[\xb0-\xc8][\xa1-\xfe]")
SIGNS = (0xA1, 0xA2, 0xA8, 0xA9)  # first bytes
CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


def check(encoding: str) -> None:
    """UsageError for an encoding nobody knows."""
    try:
        if encoding != AUTO:
            codecs.lookup(encoding)
    except LookupError:
        mend = "Such as auto, utf-8, cp949, utf-16."
        raise UsageError(f"{encoding} is not an encoding Python knows", where="--encoding", mend=mend) from None


def encoding_of(path: str, asked: str = AUTO) -> str:
    """The encoding to read a file in. A file that is UTF-8 from end to end is read as that, whatever else was named:
    folders mix old files and new. DataError where `auto` cannot tell."""
    check(asked)
    if asked.lower().startswith("utf"):
        return asked
    with opened(path):
        state = os.stat(path)
    found = _found(path, state.st_size, state.st_mtime_ns)
    if asked != AUTO:
        return "utf-8" if found == "utf-8" else asked
    if isinstance(found, DataError):
        raise DataError(found.what, where=found.where, mend=found.mend)
    if found != "utf-8":
        note(f"files read as {found}, found out by their bytes (--encoding names another)")
    return found


@lru_cache(maxsize=1024)
def _found(path: str, size: int, changed: int) -> str | DataError:
    """What the bytes of a whole file say. The size and the time of the last change are there for the cache."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    num_read, known, last = 0, 0, False
    with opened(path) as file:
        while not last:
            data = file.read(BLOCK)
            if not num_read:
                mark = next((name for mark, name in MARKS.items() if data.startswith(mark)), "")
                if mark := mark or _utf16(data):
                    return mark
            num_read, last = num_read + len(data), not data
            try:
                text = decoder.decode(data, final=last)
            except UnicodeDecodeError as error:
                place = num_read - len(error.object) + error.start
                if known + _known(error.object[: error.start].decode()) >= SURE:
                    return _mixed(path, "utf-8", place)
                return _other(path, error.object, place, num_read - len(error.object))
            if known < SURE and not text.isascii():
                known += _known(text)
    return "utf-8"


def _known(text: str) -> int:
    """How much of a text in UTF-8 is more than chance: a syllable of three bytes is, one of two may be old Korean."""
    return SURE if HANGUL.search(text) else len(NOT_ASCII.findall(text))


def _utf16(head: bytes) -> str:
    """`utf-16-le` or `-be` where bytes with zeros among them are ASCII and Hangul in it, and little else."""
    if b"\0" not in head:
        return ""
    for name in ("utf-16-le", "utf-16-be"):
        try:
            text = codecs.getincrementaldecoder(name)().decode(head, final=len(head) < BLOCK)
        except UnicodeDecodeError:
            continue
        if "\0" not in text and len(PLAIN.findall(text)) > 0.7 * len(text):
            return name
    return ""


def _other(path: str, block: bytes, place: int, start: int) -> str | DataError:
    """The encoding of a file that is not UTF-8, from a block that holds its first such byte, at `place` of the file."""
    good, bad = block, -1
    try:
        codecs.getincrementaldecoder("cp949")().decode(block)
    except UnicodeDecodeError as error:
        good, bad = block[: error.start], error.start
    if bad < 0 and (_korean(good) or _signs(good)):
        return "cp949"
    if _korean(good, SURE):
        return _mixed(path, "cp949", start + bad)
    if _western(block):
        return "cp1252"
    return DataError(f"is not UTF-8 at byte {place}, and no encoding is sure", where=path, mend=OTHERWISE)


def _korean(data: bytes, least: int = 1) -> bool:
    """Whether cp949 reads these bytes as Korean: at least so many syllables, most of them of the 2,350 common ones of
    KS X 1001, and few Chinese characters."""
    counts = _beyond_ascii(data)
    syllables = sum(count for char, (_, count) in counts.items() if HANGUL.match(char))
    common = sum(n for char, (code, n) in counts.items() if HANGUL.match(char) and KS_X_1001.match(code))
    chinese = sum(count for char, (_, count) in counts.items() if IDEOGRAPH.match(char))
    others = sum(count for _, count in counts.values())
    return syllables >= max(least, 0.6 * others) and common >= 0.6 * syllables >= 3 * chinese


def _signs(data: bytes) -> bool:
    """Whether cp949 reads all high bytes as signs (curly quotes, dashes, Latin letters with marks) among at most some
    Hangul. They come in pairs, which the high bytes of other languages do not."""
    if any(len(run) % 2 for run in HIGH.findall(data)):
        return False
    counts = _beyond_ascii(data)
    return all(code[0] in SIGNS or HANGUL.match(char) for char, (code, _) in counts.items()) and bool(counts)


def _beyond_ascii(data: bytes) -> dict[str, tuple[bytes, int]]:
    """The characters that cp949 reads here, each with its bytes and how often it is there. The last one may be cut."""
    text = codecs.getincrementaldecoder("cp949")().decode(data)
    return {char: (char.encode("cp949"), text.count(char)) for char in set(NOT_ASCII.findall(text))}


def _western(data: bytes) -> bool:
    """Whether cp1252 reads these bytes as a Western language: high bytes are less than a third, and stand alone."""
    try:
        data.decode("cp1252")
    except UnicodeDecodeError:
        return False
    runs = [len(run) for run in HIGH.findall(data)]
    alone = sum(run for run in runs if run < 4)
    return alone > 0.9 * sum(runs) > 0 and sum(runs) * 3 < len(data) and not CONTROL.search(data)


def _mixed(path: str, encoding: str, place: int) -> DataError:
    mend = "Two encodings in one file: mend it there, or name the one to read it in with --encoding."
    return DataError(f"is {encoding} up to byte {place}, and not there", where=path, mend=mend)


def blocks(path: str, encoding: str) -> Iterator[str]:
    """The text of a file, block by block. DataError names the byte that is not in the encoding."""
    encoding = encoding_of(path, encoding)
    decoder = codecs.getincrementaldecoder("utf-8-sig" if encoding.lower() in LIKE_UTF8 else encoding)()
    num_read, last = 0, False
    with opened(path) as file:
        while not last:
            data = file.read(BLOCK)
            num_read, last = num_read + len(data), not data
            try:
                text = decoder.decode(data, final=last)
            except UnicodeDecodeError as error:
                place = num_read - len(error.object) + error.start
                if encoding.lower() == _told(path):
                    raise _mixed(path, encoding, place) from None
                raise DataError(f"is not {encoding} at byte {place}", where=path, mend=_mend(path, encoding)) from None
            if "\0" in text:
                mend = _mend(path, encoding, "Is it text at all?")
                raise DataError("holds NUL bytes, so it is no text in this encoding", where=path, mend=mend)
            yield text


def _mend(path: str, encoding: str, otherwise: str = OTHERWISE) -> str:
    """What to do about a file that is not in the encoding that was named: the one that its bytes tell."""
    found = _told(path)
    return otherwise if found in ("", "utf-8", encoding.lower()) else f"It reads as {found}: --encoding {found}."


def _told(path: str) -> str:
    """The encoding that the bytes of a file tell, "" where they tell none."""
    state = os.stat(path)
    found = _found(path, state.st_size, state.st_mtime_ns)
    return found if isinstance(found, str) else ""


def decoded(data: bytes, encoding: str, where: str, declared: str = "") -> str:
    """The text of a document of which all bytes are there. With `auto`: by its mark, as UTF-8, as the document itself
    declares, or by its bytes. DataError where none fits."""
    check(encoding)
    mark = next((name for mark, name in MARKS.items() if data.startswith(mark)), "") or _utf16(data[:BLOCK])
    declared = {"euc-kr": "cp949", "ks_c_5601-1987": "cp949", "iso-8859-1": "cp1252"}.get(declared.lower(), declared)
    named = (encoding,) if encoding.lower().startswith("utf") else ("utf-8", encoding)
    for name in (mark, "utf-8", declared) if encoding == AUTO else named:
        try:
            if name:
                return data.decode("utf-8-sig" if name.lower() in LIKE_UTF8 else name)
        except (UnicodeDecodeError, LookupError):
            continue
    found = _other(where, data, 0, 0) if encoding == AUTO else ""
    if isinstance(found, DataError) or not found:
        what = "is in no encoding that is sure" if encoding == AUTO else f"is not {encoding}"
        raise DataError(what, where=where, mend=OTHERWISE)
    return data.decode(found, errors="replace")
