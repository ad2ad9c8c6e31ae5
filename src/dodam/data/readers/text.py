"""Plain text: its lines, the file as one document, or a long file as pieces of some kB."""

from collections.abc import Iterator
from itertools import chain

from dodam.data.readers.chats import chat_rows, is_chat
from dodam.data.readers.encodings import blocks, encoding_of
from dodam.data.readers.row import Prose, Rows
from dodam.errors import DataError

LONGEST_LINE = 1 << 26  # characters; a longer line is no row
PIECE = 1 << 12  # characters a piece of a long text has at least
LARGEST_PIECE = 1 << 16  # characters; longer text files are cut into pieces


def numbered_lines(path: str, encoding: str) -> Iterator[tuple[int, str | DataError]]:
    """The lines of a file with their numbers and ends; in place of one that no memory should hold, a DataError."""
    held: list[str] = []
    size, number = 0, 1
    for block in blocks(path, encoding):
        *ends, rest = block.split("\n")
        for end in ends:
            yield number, _line(path, number, held, size, f"{end}\n")
            held, size, number = [], 0, number + 1
        size += len(rest)
        if rest and size <= LONGEST_LINE:
            held.append(rest)
    if size:
        yield number, _line(path, number, held, size, "")


def _line(path: str, number: int, held: list[str], size: int, end: str) -> str | DataError:
    if size + len(end) <= LONGEST_LINE:
        return "".join([*held, end])
    what = f"is longer than {LONGEST_LINE >> 20} million characters"
    return DataError(what, where=f"{path}:{number}", mend="Is every row on a line of its own?")


def lines(path: str, encoding: str) -> Iterator[str]:
    """The lines of a file with their ends. DataError for a line that no memory should hold."""
    for _, line in numbered_lines(path, encoding):
        if isinstance(line, DataError):
            raise line
        yield line


def text_pieces(path: str, encoding: str) -> Iterator[tuple[str, str]]:
    """A text file as one document, or a long one as pieces of some kB, cut at blank lines. Those that begin in one
    line are called FILE:LINE, FILE:LINE.2 and so on."""
    held, number, nth = "", 1, 1
    for block in blocks(path, encoding):
        held += block.replace("\r\n", "\n")
        start = 0
        while len(held) - start > LARGEST_PIECE:
            end = _cut(held, start)
            yield _place(path, number, nth), held[start:end]
            ends = held.count("\n", start, end)
            number, nth, start = number + ends, 1 if ends else nth + 1, end
        held = held[start:]
    if held:
        yield _place(path, number, nth), held


def _place(path: str, line: int, nth: int) -> str:
    return f"{path}:{line}" if nth == 1 else f"{path}:{line}.{nth}"


def _cut(text: str, start: int) -> int:
    """Where a piece of a long text ends: after a blank line, else a line, else a word, else anywhere."""
    for separator in ("\n\n", "\n", " "):
        place = text.find(separator, start + PIECE, start + LARGEST_PIECE)
        if place >= 0:
            return place + len(separator)
    return start + LARGEST_PIECE


def text_rows(path: str, encoding: str) -> Rows:
    """The pieces of a text file as rows; or, where its first lines are those of a chat, the conversations in it."""
    encoding = encoding_of(path, encoding)  # found out, and told, once
    pieces = text_pieces(path, encoding)
    first = next(pieces, None)
    if first and is_chat(first[1]):
        yield from chat_rows(path, numbered_lines(path, encoding))
        return
    for where, text in chain([first] if first else [], pieces):
        yield where, Prose(text=text)
