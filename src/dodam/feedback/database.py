"""The database under a store: SQLite in a file (sqlite.py), or PostgreSQL by URL (postgres.py). Opened, migrated, and
every failure one clear error.

In: a path or a URL. Out: a `Database` whose `write(work)` runs `work(session)` as one transaction that is on the disk
when it returns, and whose `read()` is a session on one snapshot.
"""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from dodam.errors import DataError, DodamError, FolderError, StorageError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine
    from sqlalchemy.orm import Session

T = TypeVar("T")

URLS = ("postgresql://", "postgres://", "postgresql+psycopg://")
PATIENCE = 10.0  # seconds that a lock of somebody else is waited for
VERSION_TABLE = "feedback_version"
MIGRATIONS = Path(__file__).parent / "migrations"
ONE_THREAD = threading.Lock()  # Alembic keeps what it works on in global variables
AGAIN = "Nothing was stored; try again."
UNWRITABLE = "Mend the permissions of the file and of its folder."
TRIES = 4  # of a transaction that others got in the way of


class Collision(StorageError):
    """Others changed the same rows at the same moment; the transaction may be tried again."""


def is_url(path: str) -> bool:
    """Whether it names a database by URL and not a file."""
    return path.startswith(URLS)


def open_database(path: str, *, create: bool = False) -> "Database":
    """Open and, where it is older, migrate. FolderError for what is missing (unless `create`), not ours, or newer."""
    from dodam.feedback.postgres import Postgres
    from dodam.feedback.sqlite import SQLite

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
            raise StorageError("cannot be written", where=self.where, mend=UNWRITABLE)
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


def as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def now() -> float:
    """Seconds since 1970, as all times in a store."""
    return time.time()


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
