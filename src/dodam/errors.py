"""The exceptions a user can meet. Each says what happened, where, and how to mend it.

DodamError            exit code 1
├── UsageError        a flag, key or argument is wrong (exit code 2)
├── DataError         text, rows or conversations cannot be read or used
├── FolderError       a model, data or tokenizer folder is missing, torn or too new
├── CheckpointError   a training state cannot be read or belongs to another run
├── StorageError      the disk is full or cannot be written
└── Interrupted       the user stopped the run; it was saved
"""


class DodamError(Exception):
    """An error with one message: `where: what. mend`."""

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", mend: str = "") -> None:
        self.what, self.where, self.mend = what, where, mend
        super().__init__(what, where, mend)

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text.rstrip('.')}. {self.mend}" if self.mend else text


class UsageError(DodamError):
    """A flag, a key or an argument is wrong."""

    exit_code = 2


class DataError(DodamError):
    """Text, rows or conversations cannot be read or used."""


class FolderError(DodamError):
    """A model, data or tokenizer folder is missing, torn or of a newer format."""


class CheckpointError(DodamError):
    """A training state cannot be read or belongs to another run."""


class StorageError(DodamError):
    """The disk is full or cannot be written."""


class Interrupted(DodamError):
    """The user stopped the run; everything done so far is saved."""
