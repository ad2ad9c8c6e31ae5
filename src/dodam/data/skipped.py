"""Rows and files that cannot be used: the reader stops at the first, or leaves them out, counts them and names some."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field

from dodam.errors import DataError

NAMED_ROWS = 100  # of those that cannot be used, in reports
OR_SKIP = "Or leave such rows out: --skip-bad."


@dataclass
class Skipped:
    """What to do with rows that cannot be used: stop at the first, or count them and keep the first as an example."""

    allowed: bool
    otherwise: str = ""
    """What else can be done about it, told behind the mend: that there is a flag."""
    count: int = 0
    named: list[str] = field(default_factory=list)
    """The first NAMED_ROWS of them: where, and why."""
    files: list[str] = field(default_factory=list)
    """Those that could not be read to their end."""

    def add(self, error: DataError, file: str = "") -> None:
        """Raise the error, or count it; `file` where the rest of one is lost with it."""
        if not self.allowed:
            raise DataError(error.what, where=error.where, mend=f"{error.mend} {self.otherwise}".strip()) from None
        self.count += 1
        self.name([str(error)])
        self.files += [file] if file else []

    @property
    def first(self) -> str:
        return self.named[0] if self.named else ""

    def name(self, errors: Iterable[str]) -> None:
        """Keep what is told of rows that were left out, as long as there is room."""
        self.named = [*self.named, *errors][:NAMED_ROWS]

    def join(self, other: "Skipped") -> None:
        """Count what another one has left out, before one's own."""
        self.count += other.count
        self.named = [*other.named, *self.named][:NAMED_ROWS]
        self.files = [*other.files, *self.files]

    def tell(self) -> None:
        """Say on standard error what was left out."""
        if self.count:
            print(self, file=sys.stderr)

    def __str__(self) -> str:
        told = f"{self.count:,} left out that cannot be read. The first: {self.first}"
        if not self.files:
            return told
        more = f" and {len(self.files) - 5} more" if len(self.files) > 5 else ""
        return f"{told.rstrip('.')}. Whole files, or the rest of them: {', '.join(self.files[:5])}{more}."
