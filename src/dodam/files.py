"""Files that are whole or not there: atomic writes, folders put in place in one move, locks, checksums, format numbers.

Only the standard library is imported here, so that the training core can use it anywhere. A full or read-only disk
becomes a StorageError that names the path; a torn JSON file becomes a FolderError.
"""

import errno
import glob
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dodam.errors import FolderError, StorageError

DISK_ERRORS = {
    errno.ENOSPC: ("the disk is full", "Free some space and start again with the same --out."),
    errno.EDQUOT: ("your quota on this disk is used up", "Free some space and start again with the same --out."),
    errno.EROFS: ("the disk cannot be written", "Choose another --out."),
    errno.EACCES: ("no permission to write here", "Choose another --out or mend the permissions."),
    errno.EPERM: ("no permission to write here", "Choose another --out or mend the permissions."),
    errno.ENOTDIR: ("a file stands where a folder is needed", "Choose another --out."),
    errno.EEXIST: ("a file stands where a folder is needed", "Choose another --out."),
}


@contextmanager
def storage(path: Path) -> Iterator[None]:
    """Within, a disk that is full or cannot be written is a StorageError that names `path`."""
    try:
        yield
    except OSError as error:
        what, mend = DISK_ERRORS.get(error.errno or 0, ("", ""))
        if not what:
            raise
        raise StorageError(what, where=str(path), mend=mend) from error


def write_atomic(path: str | Path, data: bytes | str) -> None:
    """Write a file beside its place, flush it to the disk, then rename: readers see the old or the new, whole."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with storage(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(data.encode("utf-8") if isinstance(data, str) else data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def write_json(path: str | Path, value: Any) -> None:
    """A JSON file, atomically, readable by people."""
    write_atomic(path, json.dumps(value, ensure_ascii=False, indent=2, default=str) + "\n")


def read_json(path: str | Path) -> dict[str, Any]:
    """A JSON object out of a file; FolderError names a file that is missing or torn."""
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise FolderError(f"cannot be read ({error.strerror})", where=str(path)) from None
    except (ValueError, RecursionError) as error:
        mend = "The file is torn; delete its folder and write it again."
        raise FolderError(f"is not JSON ({error})", where=str(path), mend=mend) from None
    if not isinstance(value, dict):
        raise FolderError("is not a JSON object", where=str(path))
    return value


def append_line(path: str | Path, line: str) -> None:
    """One more line at the end of a log."""
    with storage(Path(path)), Path(path).open("a", encoding="utf-8") as file:
        file.write(line + "\n")


@contextmanager
def new_file(path: str | Path) -> Iterator[Path]:
    """Yields where to write, beside `path`; a block that ends well puts that file in `path`'s place in one move."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with storage(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_stale(path)
        try:
            yield temporary
            with temporary.open("rb+") as file:  # Windows flushes only what may be written
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def new_dir(path: str | Path) -> Iterator[Path]:
    """Yields an empty folder beside `path`; a block that ends well puts it in `path`'s place in one move."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with storage(path):
        remove_stale(path)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            yield temporary
            sync_dir(temporary)
            replace_dir(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def lock(descriptor: int) -> bool:
    """Lock an open file for this process and those that inherit the descriptor; false if others hold it. The lock goes
    away with the processes that hold it."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def remove_stale(path: Path) -> None:
    """Remove what a killed process left beside `path`; that of a process at work stays."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        pid = left.name.removeprefix(f".{path.name}.").removesuffix(".tmp")
        if pid.isdecimal() and not alive(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
            if left.is_file():
                left.unlink(missing_ok=True)


def alive(pid: int) -> bool:
    """Whether a process of this number is running."""
    if sys.platform == "win32":  # where os.kill(pid, 0) is Ctrl-C
        import ctypes

        query_limited_information = 0x1000
        handle = ctypes.windll.kernel32.OpenProcess(query_limited_information, False, pid)
        return bool(handle and ctypes.windll.kernel32.CloseHandle(handle))
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def replace_dir(temporary: Path, path: Path) -> None:
    """Put a finished folder where another may stand. The old one is moved aside first and deleted last."""
    aside = path.with_name(f".{path.name}.old")
    shutil.rmtree(aside, ignore_errors=True)
    if path.exists():
        os.rename(path, aside)
    os.rename(temporary, path)
    shutil.rmtree(aside, ignore_errors=True)


def sync_dir(folder: Path) -> None:
    """Flush every file of a folder to the disk."""
    for file in folder.rglob("*"):
        if file.is_file():
            with file.open("rb+") as handle:  # Windows flushes only what may be written
                os.fsync(handle.fileno())


def xxh3(path: str | Path) -> str:
    """The XXH3 checksum of a file, 128 bits in hex."""
    import xxhash

    digest = xxhash.xxh3_128()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def check_format(found: Any, known: int, where: str | Path) -> None:
    """FolderError when a folder was written by a newer Dodam, or by something else."""
    if not isinstance(found, int) or found < 1:
        raise FolderError("carries no format number", where=str(where), mend="It was not written by Dodam, or is torn.")
    if found > known:
        raise FolderError(
            f"is of format {found}, this Dodam knows formats up to {known}", where=str(where), mend="Update Dodam."
        )
