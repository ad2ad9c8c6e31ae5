"""What readers yield: rows, each with where it stands; in place of a row that cannot be read the DataError that tells
why."""

from collections.abc import Callable, Generator
from typing import Any

from dodam.errors import DataError

Row = dict[str, Any]
Rows = Generator[tuple[str, Row | DataError], None, None]
Reader = Callable[[str, str], Rows]
"""(path, encoding) -> rows."""


class Prose(Row):
    """A document as it stands, as of a text or a PDF: its `text` is the text, whatever columns are named for rows."""
