"""A store in an SQLite file, in WAL mode: opened, checked to be ours and in its place, its failures clear errors."""

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dodam.errors import DodamError, FolderError, StorageError
from dodam.feedback.database import AGAIN, PATIENCE, UNWRITABLE, Database, as_json, migrate

if TYPE_CHECKING:
    from sqlalchemy import Connection

APPLICATION = 0x446F6461
"""What an SQLite file of ours carries in its header: `Doda`."""

SQLITE_ERRORS = {
    "SQLITE_BUSY": (StorageError, "is locked by another program", AGAIN),
    "SQLITE_LOCKED": (StorageError, "is locked by another program", AGAIN),
    "SQLITE_FULL": (StorageError, "the disk is full", "Nothing was stored; free some space and try again."),
    "SQLITE_READONLY": (StorageError, "cannot be written", UNWRITABLE),
    "SQLITE_CANTOPEN": (StorageError, "cannot be opened", UNWRITABLE),
    "SQLITE_IOERR": (StorageError, "cannot be read or written", "Is the disk full or gone? " + AGAIN),
    "SQLITE_NOTADB": (FolderError, "is no feedback store", "Name a store that Dodam wrote."),
    "SQLITE_CORRUPT": (FolderError, "is torn", 'Save what can be read: sqlite3 FILE ".recover" | sqlite3 NEW.'),
}


def is_sqlite_store(path: Path) -> bool:
    """Whether a file is one of ours. SQLite itself looks: opening and closing the file here would take away the locks
    that this process may hold on it (fcntl)."""
    import sqlite3

    if not path.is_file():
        return False
    for choice in ("", "&immutable=1"):  # the second for a folder that cannot be written
        with (
            contextlib.suppress(sqlite3.Error),
            contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro{choice}", uri=True)) as connection,
        ):
            return connection.execute("PRAGMA application_id").fetchone() == (APPLICATION,)
    return False


class SQLite(Database):
    """A file in WAL mode: readers and one writer at a time do not wait for each other."""

    def __init__(self, path: str, *, create: bool) -> None:
        from sqlalchemy import URL, create_engine, event

        self.path = Path(path).expanduser().absolute()
        self.where = path
        if self.path.is_dir():
            raise FolderError("is a folder and no feedback store", where=path)
        if not self.path.exists() and not create:
            raise FolderError("there is no such store", where=path, mend="`dodam serve MODEL --feedback` makes one.")
        fresh = not self.path.exists() or not self.path.stat().st_size
        if not fresh and not is_sqlite_store(self.path):
            raise FolderError("is no feedback store", where=path, mend="Name a store that Dodam wrote.")
        self.read_only = not fresh and not (os.access(self.path, os.W_OK) and os.access(self.path.parent, os.W_OK))
        if fresh:
            self.begin_file()
        name, query = str(self.path), {}
        if self.read_only:  # without a log nothing can be newer than the file; with one it must be read too
            choices = "mode=ro" if Path(f"{self.path}-wal").exists() else "mode=ro&immutable=1"
            name, query = f"{self.path.as_uri()}?{choices}", {"uri": "true"}
        self.engine = create_engine(
            URL.create("sqlite", database=name, query=query),
            connect_args={"timeout": PATIENCE, "isolation_level": None},
            json_serializer=as_json,
        )
        self.reader = self.engine
        event.listen(self.engine, "connect", self.prepare)
        event.listen(self.engine, "begin", begin)
        self.file = self.identity()

    def begin_file(self) -> None:
        """Write the header of a new file. Before WAL is turned on, so that it is in the file and not in its log."""
        import sqlite3

        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.closing(sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None)) as connection:
                if connection.execute("PRAGMA application_id").fetchone() != (APPLICATION,):
                    connection.execute(f"PRAGMA application_id = {APPLICATION}")
                until = time.monotonic() + PATIENCE
                while True:  # SQLite itself does not wait where two turn WAL on at once
                    try:
                        connection.execute("PRAGMA journal_mode = WAL")
                        break
                    except sqlite3.OperationalError as error:
                        if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                            raise
                        time.sleep(0.02)
        except sqlite3.Error as error:
            known = sqlite_error(error, self.where)
            if known is None:
                raise
            raise known from error
        except OSError as error:
            raise StorageError(f"cannot be written ({error.strerror})", where=self.where) from error

    def prepare(self, connection: Any, record: Any) -> None:
        """What holds for every connection. A commit is flushed to the disk and taken over into the file at once, so
        that whoever moves or copies the file has what was acknowledged; deleted rows are overwritten with zeros."""
        pragmas = ("foreign_keys = ON", "synchronous = FULL", "wal_autocheckpoint = 1", "secure_delete = ON")
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}").close()

    def identity(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def before_write(self) -> None:
        self.check_in_place()

    def after_write(self) -> None:
        self.check_in_place()  # moved during the commit: it may be in a log that stayed behind

    def check_in_place(self) -> None:
        """StorageError when another file, or none, has taken the place of the one that was opened. What is in the log
        goes into the file first, wherever it is now."""
        if self.identity() == self.file:
            return
        with contextlib.suppress(Exception), contextlib.closing(self.engine.raw_connection()) as connection:
            connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        raise self.moved()

    def moved(self) -> StorageError:
        mend = "Stop this program, put the file back, and start it again. What was acknowledged is in that file."
        return StorageError("the file was moved, replaced or deleted while in use", where=self.where, mend=mend)

    def known(self, error: BaseException | None) -> DodamError | None:
        found = sqlite_error(error, self.where)
        return self.moved() if found is not None and self.identity() != self.file else found

    def move_to(self, version: str) -> None:
        # Altering an SQLite table copies it and drops the old one, which with foreign keys on would empty the others.
        with self.engine.connect() as connection:
            raw = connection.connection.driver_connection
            assert raw is not None
            raw.execute("PRAGMA foreign_keys = OFF").close()
            try:
                with connection.execution_options(writes=True).begin():
                    migrate(connection, version)
                    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
                    assert broken is None, f"a migration broke {broken}"
            finally:
                raw.execute("PRAGMA foreign_keys = ON").close()

    def forget(self) -> None:
        with self.told(), self.engine.connect() as connection:
            raw = connection.connection.driver_connection
            assert raw is not None
            busy, _, _ = raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            what = "deleted, but its log still holds traces, for another program is reading"
            raise StorageError(what, where=self.where, mend="They go when the last program closes the store.")


def sqlite_error(error: BaseException | None, where: str) -> DodamError | None:
    """Our error for one of SQLite's; None for one that only a mistake of ours can cause."""
    name = "SQLITE_NOTADB" if "is not a database" in str(error) else getattr(error, "sqlite_errorname", "") or ""
    kind = next((kind for kind in SQLITE_ERRORS if name.startswith(kind)), None)
    if kind is None:
        return None
    cls, what, mend = SQLITE_ERRORS[kind]
    return cls(what, where=where, mend=mend)


def begin(connection: "Connection") -> None:
    """SQLite: a writer takes its lock at once. One that reads first and then cannot write would fail without
    waiting."""
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
