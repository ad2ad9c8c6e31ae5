"""The database under a store: SQLite in a file, or PostgreSQL by URL. Opened, migrated, and every failure one clear
error.

In: a path or a URL. Out: a `Database` whose `write(work)` runs `work(session)` as one transaction that is on the disk
when it returns, and whose `read()` is a session on one snapshot.
"""

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from dodam.errors import DataError, DodamError, FolderError, StorageError, UsageError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine
    from sqlalchemy.orm import Session

T = TypeVar("T")

URLS = ("postgresql://", "postgres://", "postgresql+psycopg://")
PATIENCE = 10.0  # seconds that a lock of somebody else is waited for
APPLICATION = 0x446F6461
"""What an SQLite file of ours carries in its header: `Doda`."""
VERSION_TABLE = "feedback_version"
MIGRATIONS = Path(__file__).parent / "migrations"
NOBODY_ELSE = 0x446F6461  # the advisory lock under which PostgreSQL is migrated
ONE_THREAD = threading.Lock()  # Alembic keeps what it works on in global variables
AGAIN = "Nothing was stored; try again."
TRIES = 4  # of a transaction that others got in the way of


class Collision(StorageError):
    """Others changed the same rows at the same moment; the transaction may be tried again."""


OLDER_READERS = """
SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid()
AND (datname = current_database() OR backend_type = 'walsender')
AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL) AND xact_start < to_timestamp(%s)
"""
"""Transactions that may still see what was deleted before that moment: as long as they do, VACUUM leaves it."""

SQLITE_ERRORS = {
    "SQLITE_BUSY": (StorageError, "is locked by another program", AGAIN),
    "SQLITE_LOCKED": (StorageError, "is locked by another program", AGAIN),
    "SQLITE_FULL": (StorageError, "the disk is full", "Nothing was stored; free some space and try again."),
    "SQLITE_READONLY": (StorageError, "cannot be written", "Mend the permissions of the file and of its folder."),
    "SQLITE_CANTOPEN": (StorageError, "cannot be opened", "Mend the permissions of the file and of its folder."),
    "SQLITE_IOERR": (StorageError, "cannot be read or written", "Is the disk full or gone? " + AGAIN),
    "SQLITE_NOTADB": (FolderError, "is no feedback store", "Name a store that Dodam wrote."),
    "SQLITE_CORRUPT": (FolderError, "is torn", 'Save what can be read: sqlite3 FILE ".recover" | sqlite3 NEW.'),
}
POSTGRES_ERRORS = {  # by the class of the SQLSTATE, or all of it
    "40": (Collision, "others changed the same at the same moment", AGAIN),  # a deadlock, or no order that fits
    "55P03": (StorageError, "is locked by another program", AGAIN),
    "53": (StorageError, "the database server has no room", "Nothing was stored; free some space and try again."),
    "25006": (StorageError, "cannot be written", "The database is read-only."),
    "42501": (StorageError, "may not be used by this user", "Grant the user what it needs on this database."),
    "28": (UsageError, "the database refuses this user", "Check user and password in the URL."),
    "3D": (FolderError, "there is no such database", "Create it: createdb NAME."),
    "57": (StorageError, "the database server stopped", AGAIN),
    "08": (StorageError, "the database server cannot be reached", AGAIN),
    "42P07": (FolderError, "holds tables of another program", "Take a database of its own for feedback."),
}


def is_url(path: str) -> bool:
    """Whether it names a database by URL and not a file."""
    return path.startswith(URLS)


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


def open_database(path: str, *, create: bool = False) -> "Database":
    """Open and, where it is older, migrate. FolderError for what is missing (unless `create`), not ours, or newer."""
    database = Postgres(path) if is_url(path) else SQLite(path, create=create)
    try:
        database.migrate(create=create)
    except BaseException:
        database.close()
        raise
    return database


class Database:
    """An engine, and what is to be known of its kind."""

    where: str
    engine: "Engine"
    reader: "Engine"
    """The engine for transactions that only read."""
    read_only = False

    def close(self) -> None:
        self.engine.dispose()

    def write(self, work: "Callable[[Session], T]") -> T:
        """Run `work` as one transaction, and again if another process got in between."""
        from sqlalchemy.exc import IntegrityError
        from sqlalchemy.orm import Session
        from sqlalchemy.orm.exc import StaleDataError

        if self.read_only:
            raise StorageError("cannot be written", where=self.where, mend=SQLITE_ERRORS["SQLITE_READONLY"][2])
        for attempt in range(1, TRIES + 1):
            try:
                with self.told(), Session(self.engine.execution_options(writes=True)) as session:
                    self.before_write()
                    result = work(session)
                    session.commit()
                    self.after_write()
                    return result
            except (IntegrityError, StaleDataError, Collision):  # what it relied on appeared or went away meanwhile
                if attempt == TRIES:
                    raise
        raise AssertionError

    @contextlib.contextmanager
    def read(self) -> "Iterator[Session]":
        """A session on one snapshot of the store."""
        from sqlalchemy.orm import Session

        with self.told(), Session(self.reader) as session:
            yield session

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """Within, a failure of the database is one of our errors, with the store's name."""
        from sqlalchemy.exc import DBAPIError, IntegrityError, TimeoutError

        try:
            yield
        except IntegrityError:
            raise
        except DBAPIError as error:
            known = self.known(error.orig)
            if known is None:
                raise
            raise known from error
        except UnicodeEncodeError as error:
            raise DataError("a text holds half a character") from error
        except TimeoutError as error:
            raise StorageError("too many wait for the store", where=self.where, mend=AGAIN) from error

    def known(self, error: BaseException | None) -> DodamError | None:
        """Our error for one of the driver's."""
        raise NotImplementedError

    def before_write(self) -> None: ...

    def after_write(self) -> None: ...

    def migrate(self, *, create: bool) -> None:
        """Bring the tables to the newest version; FolderError if they are newer than this Dodam."""
        from dodam.feedback.tables import VERSION

        with self.told(), self.engine.connect() as connection:
            found = version_of(connection)
        if found is None and not create:
            raise FolderError("is no feedback store", where=self.where, mend="Name a store that Dodam wrote.")
        if found is not None and found > VERSION:
            what = f"is of version {found}, this Dodam knows stores up to {VERSION}"
            raise FolderError(what, where=self.where, mend="Update Dodam.")
        if found != VERSION and not self.read_only:
            with self.told():
                self.move_to("head")
        elif found != VERSION:
            raise FolderError(f"is of the older version {found} and cannot be written", where=self.where)

    def move_to(self, version: str) -> None:
        """Run the migrations to a version, as one transaction that nobody else is in."""
        raise NotImplementedError

    def forget(self) -> None:
        """Leave no bytes of deleted rows where the database keeps them for reuse."""
        raise NotImplementedError


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


class Postgres(Database):
    """A database of a PostgreSQL server."""

    def __init__(self, url: str) -> None:
        from sqlalchemy import create_engine, make_url
        from sqlalchemy.exc import ArgumentError

        try:
            parsed = make_url(url).set(drivername="postgresql+psycopg")
        except (ArgumentError, ValueError):
            mend = "It looks like postgresql://user:password@host:5432/name."
            raise UsageError("the URL of the database cannot be read", mend=mend) from None
        self.where = parsed.render_as_string(hide_password=True).replace("+psycopg", "")
        milliseconds = int(PATIENCE * 1000)
        options = f"-c lock_timeout={milliseconds} -c synchronous_commit=on"
        self.engine = create_engine(
            parsed,
            connect_args={"options": options, "connect_timeout": int(PATIENCE)},
            pool_pre_ping=True,
            json_serializer=as_json,
        )
        self.reader = self.engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    def known(self, error: BaseException | None) -> DodamError | None:
        import psycopg

        state = getattr(error, "sqlstate", None) or ""
        kind = next((kind for kind in POSTGRES_ERRORS if state.startswith(kind)), None)
        if kind is None and isinstance(error, psycopg.OperationalError):
            text = str(error)
            refused = "password authentication failed" in text or "no password supplied" in text
            missing = 'database "' in text and "does not exist" in text
            kind = "28" if refused else "3D" if missing else "08"
        if kind is None:
            return DataError(f"cannot be stored ({error})") if isinstance(error, psycopg.DataError) else None
        cls, what, mend = POSTGRES_ERRORS[kind]
        return cls(what, where=self.where, mend=mend)

    def move_to(self, version: str) -> None:
        with self.engine.begin() as connection:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({NOBODY_ELSE})")
            migrate(connection, version)

    def forget(self) -> None:
        from dodam.feedback.tables import Table

        with self.told(), self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            moment = connection.exec_driver_sql("SELECT extract(epoch FROM clock_timestamp())").scalar()
            until = time.monotonic() + PATIENCE
            while readers := connection.exec_driver_sql(OLDER_READERS, (moment,)).scalar():
                if time.monotonic() > until:
                    break
                time.sleep(0.05)
            connection.exec_driver_sql("VACUUM " + ", ".join(sorted(Table.metadata.tables)))
        if readers:
            what = "deleted, but its files still hold traces, for another program is reading"
            raise StorageError(
                what, where=self.where, mend="They go with the next VACUUM after that program has ended."
            )


def sqlite_error(error: BaseException | None, where: str) -> DodamError | None:
    """Our error for one of SQLite's; None for one that only a mistake of ours can cause."""
    name = "SQLITE_NOTADB" if "is not a database" in str(error) else getattr(error, "sqlite_errorname", "") or ""
    kind = next((kind for kind in SQLITE_ERRORS if name.startswith(kind)), None)
    if kind is None:
        return None
    cls, what, mend = SQLITE_ERRORS[kind]
    return cls(what, where=where, mend=mend)


def as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def now() -> float:
    """Seconds since 1970, as all times in a store."""
    return time.time()


def begin(connection: "Connection") -> None:
    """SQLite: a writer takes its lock at once. One that reads first and then cannot write would fail without
    waiting."""
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def version_of(connection: "Connection") -> str | None:
    """The version of the tables; None where there are none."""
    from sqlalchemy import inspect, text

    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()


def migrate(connection: "Connection", version: str) -> None:
    """Bring the tables to a version, `head` for the newest, within the connection's transaction."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    older = version == "base" or (version != "head" and (version_of(connection) or "") > version)
    with ONE_THREAD:
        (command.downgrade if older else command.upgrade)(config, version)
