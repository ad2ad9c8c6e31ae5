"""A work folder: what a killed run has done, so that the next one goes on there.

Each task writes its files and, last, a note `NAME.json` of what it found. A note counts only with the fingerprint of
what the task is made from, and with its files at the sizes they had. So a torn or an older file is made again.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from dodam import files
from dodam.errors import FolderError, UsageError

FORMAT = 1
ABOUT, LOCK = "work.json", ".lock"


def folder_of(out: Path) -> Path:
    """The work folder of a data folder: beside it, hidden, so that it is no input of a later run."""
    out = Path(out).absolute()
    return out.with_name(f".{out.name}.work")


@contextmanager
def opened(folder: Path) -> Iterator[None]:
    """The work folder, held for this process alone. UsageError when another one has it, or when it is not ours."""
    with files.storage(folder):
        files.remove_stale(folder)
        if not _is_ours(folder):
            raise UsageError("is there and is no work folder of dodam", where=str(folder), mend="Choose another --out.")
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / ABOUT).is_file():
            files.write_json(folder / ABOUT, {"format": FORMAT})
        with (folder / LOCK).open("a") as file:
            if not files.lock(file.fileno()):
                mend = "Wait until it has ended, or choose another --out."
                raise UsageError("another `dodam prepare` is at work here", where=str(folder), mend=mend)
            for left in folder.rglob(".*.tmp"):  # of a run that was killed
                left.unlink(missing_ok=True)
            for left in folder.rglob("range-*"):
                shutil.rmtree(left, ignore_errors=True)
            yield


def _is_ours(folder: Path) -> bool:
    """Whether a folder is not there, was written by us, or by one of us that was killed before it could say so."""
    if not folder.exists() or (folder / ABOUT).is_file():
        return True
    return folder.is_dir() and all(file.name.startswith(f".{ABOUT}.") for file in folder.iterdir())


def note(path: Path, fingerprint: str, made: list[Path], found: dict[str, Any]) -> dict[str, Any]:
    """Write down that a task is done and what it found; returns that."""
    sizes = {os.path.relpath(file, path.parent): file.stat().st_size for file in made}
    files.write_json(path, {"fingerprint": fingerprint, "sizes": sizes, "found": found})
    return found


def noted(path: Path, fingerprint: str) -> dict[str, Any] | None:
    """What a task found that is done; None when it is not, or was another one's."""
    if not path.is_file():
        return None
    try:
        told = files.read_json(path)
        sizes = {name: (path.parent / name).stat().st_size for name in told["sizes"]}
        return told["found"] if told["fingerprint"] == fingerprint and sizes == told["sizes"] else None
    except (FolderError, OSError, KeyError):
        return None


def remove(folder: Path) -> None:
    """Delete a work folder that is ours and that nobody is at work in."""
    files.remove_stale(folder)
    if not (folder / ABOUT).is_file():
        return
    with (folder / LOCK).open("a") as file:
        if files.lock(file.fileno()):
            aside = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")  # what is left of it is known for stale
            os.rename(folder, aside)
            shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file of Python's, so that a full disk is an OSError that is understood; whole in its place or not there."""
    with files.new_file(path) as temporary, temporary.open("wb") as file:
        yield file
