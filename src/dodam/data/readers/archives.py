"""Zip and tar archives: every file in them that has a known ending, read as if it lay in a folder.

A member is unpacked into a temporary file, read, and deleted, one at a time, by sorted name. Links and devices are left
out; of archives in archives one level is read.
"""

import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple
from zipfile import ZipFile

from dodam.data.readers.notes import note
from dodam.data.readers.packed import PACKED, copy, readable, seekable, suffix, zipped
from dodam.data.readers.row import Rows
from dodam.errors import DataError

ARCHIVES = (".zip", ".tar", ".tgz")
LARGEST_MEMBER = 1 << 34  # bytes of one file in an archive
DEEPEST = 1  # levels of archives in archives


class Member(NamedTuple):
    """A file in an archive; `entry` is the archive's own word for it."""

    name: str
    size: int
    entry: Any
    encrypted: bool = False


def zip_rows(path: str, encoding: str, depth: int = 0) -> Rows:
    """The rows of all files in a zip archive, FILE!MEMBER:LINE."""
    with zipped(path, "zip") as archive:
        yield from _rows(path, archive, _zip_members(archive), encoding, depth)


def tar_rows(path: str, encoding: str, depth: int = 0) -> Rows:
    """The rows of all files in a tar archive, which may be packed, FILE!MEMBER:LINE."""
    with seekable(path) as file, readable(path, "tar"), tarfile.open(fileobj=file, mode="r:") as archive:
        yield from _rows(path, archive, _tar_members(archive), encoding, depth)


def _zip_members(archive: ZipFile) -> Iterator[Member]:
    for entry in archive.infolist():
        name = entry.filename
        if not entry.flag_bits & 0x800:  # no Unicode name: Korean Windows writes cp949
            with suppress(UnicodeError):
                name = name.encode("cp437").decode("cp949")
        if not entry.is_dir():
            yield Member(name, entry.file_size, entry, encrypted=bool(entry.flag_bits & 1))


def _tar_members(archive: tarfile.TarFile) -> Iterator[Member]:
    for entry in archive.getmembers():
        if entry.isreg() and not entry.issparse():  # a sparse file can be larger than any disk
            yield Member(entry.name, entry.size, entry)
        elif not entry.isdir():
            note("links and devices in archives left out")


def _rows(path: str, archive: ZipFile | tarfile.TarFile, members: Iterable[Member], encoding: str, depth: int) -> Rows:
    from dodam.data.readers import SUFFIXES  # here, because that table holds these readers

    named = {member.name: member for member in members}  # of several files of one name the last counts
    for name, member in sorted(named.items()):
        where, ending = f"{path}!{name}", suffix(name)
        if any(part.startswith(".") or part == "__MACOSX" for part in Path(name).parts):
            continue
        if ending not in SUFFIXES:
            note("files in archives left out for their endings")
        elif ending in ARCHIVES and depth == DEEPEST:
            yield where, DataError("is an archive in an archive in an archive", where=where, mend="Unpack it yourself.")
        elif member.encrypted:
            yield where, DataError("is encrypted", where=where, mend="Unpack it yourself.")
        elif member.size > LARGEST_MEMBER:
            what = f"is larger than {LARGEST_MEMBER >> 30} GB"
            yield where, DataError(what, where=where, mend="Unpack it yourself.")
        else:
            yield from _member_rows(where, archive, member, encoding, depth)


def _member_rows(where: str, archive: ZipFile | tarfile.TarFile, member: Member, encoding: str, depth: int) -> Rows:
    """The rows of one member. What spoils it ends it alone."""
    from dodam.data.readers import reader_of

    ending = "".join(Path(member.name).suffixes[-2 if member.name.lower().endswith(PACKED) else -1 :]).lower()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, f"member{ending}")
        try:
            with readable(where, "packed"), _stream(archive, member) as packed:
                copy(packed, file)
            reader = reader_of(str(file))
            inside = {"depth": depth + 1} if reader in (zip_rows, tar_rows) else {}
            for place, row in reader(str(file), encoding, **inside):
                yield place.replace(str(file), where, 1), _moved(row, str(file), where)
        except DataError as error:
            yield where, _moved(error, str(file), where)


def _stream(archive: ZipFile | tarfile.TarFile, member: Member) -> IO[bytes]:
    found = archive.open(member.entry) if isinstance(archive, ZipFile) else archive.extractfile(member.entry)
    assert found is not None, "only regular files are read"
    return found


def _moved(row: Any, file: str, where: str) -> Any:
    """A row as it is; an error names the member, not the temporary file."""
    if not isinstance(row, DataError):
        return row
    return DataError(row.what.replace(file, where), where=row.where.replace(file, where, 1), mend=row.mend)
