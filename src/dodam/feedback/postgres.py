"""A store in a database of a PostgreSQL server: its URL, its failures as clear errors, what deleting takes there."""

import time

from dodam.errors import DataError, DodamError, FolderError, StorageError, UsageError
from dodam.feedback.database import AGAIN, PATIENCE, Collision, Database, as_json, migrate

NOBODY_ELSE = 0x446F6461  # the advisory lock under which PostgreSQL is migrated
OLDER_READERS = """
SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid()
AND (datname = current_database() OR backend_type = 'walsender')
AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL) AND xact_start < to_timestamp(%s)
"""
"""Transactions that may still see what was deleted before that moment: as long as they do, VACUUM leaves it."""

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
