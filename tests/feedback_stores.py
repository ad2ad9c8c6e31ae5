"""What several tests of the feedback store share: a store of each kind, a real PostgreSQL server among them.

The server is Debian's (`initdb`, `pg_ctl`), started in a folder of its own on a free port. Where there is none, those
tests are skipped and say so.
"""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dodam.feedback.store import Store, open_store


class Server:
    """A PostgreSQL server that listens on 127.0.0.1 only."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="dodam-postgres-"))
        self.user = ["runuser", "-u", "postgres", "--"] if os.name == "posix" and os.getuid() == 0 else []
        if self.user:  # it refuses to run as root
            shutil.chown(self.folder, "postgres")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.run("initdb", "-U", "dodam", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
        self.start()

    def run(self, program: str, *words: str) -> None:
        command = [*self.user, str(programs()[program]), "-D", str(self.folder / "data"), *words]
        subprocess.run(command, cwd=self.folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder} -c fsync=off"
        self.run("pg_ctl", "-w", "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        self.run("pg_ctl", "-w", "-m", "immediate", "stop")

    def empty_database(self) -> str:
        """The URL of the one database, with nothing in it. (A new one each time has so many files that making and
        removing them takes longer than the tests.)"""
        import psycopg

        where = f"host=127.0.0.1 port={self.port} user=dodam"
        with psycopg.connect(f"{where} dbname=postgres", autocommit=True) as connection:
            if connection.execute("SELECT FROM pg_database WHERE datname = 'feedback'").fetchone() is None:
                connection.execute("CREATE DATABASE feedback")
            connection.execute("ALTER DATABASE feedback RESET ALL")
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'feedback'")
        with psycopg.connect(f"{where} dbname=feedback", autocommit=True) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
        return f"postgresql://dodam:secret@127.0.0.1:{self.port}/feedback"


def programs() -> dict[str, str]:
    """The server's programs; Debian keeps them out of the PATH."""
    places = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/usr/local/pgsql").glob("bin")]
    path = os.pathsep.join([os.environ.get("PATH", ""), *map(str, sorted(places, reverse=True))])
    return {name: found for name in ("initdb", "pg_ctl") if (found := shutil.which(name, path=path))}


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    if len(programs()) < 2:
        pytest.skip("no PostgreSQL server here (Debian: apt-get install postgresql)")
    try:
        server = Server()
    except (subprocess.CalledProcessError, OSError, LookupError) as error:  # no such user, no runuser
        pytest.skip(f"the PostgreSQL server here does not start: {error}")
    yield server
    server.stop()
    shutil.rmtree(server.folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a store may be made: a path, and the URL of an empty database."""
    if request.param == "sqlite":
        return str(tmp_path / "feedback.sqlite")
    return request.getfixturevalue("postgres").empty_database()


@pytest.fixture
def store(place: str) -> Iterator[Store]:
    """A new store of each kind."""
    with open_store(place, create=True) as opened:
        yield opened


def filled(store: Store, prompts: int = 1, answers: int = 3) -> list[tuple[str, list[str]]]:
    """So many prompts with their answers: their ids."""
    made = []
    for number in range(prompts):
        prompt = store.add_prompt(f"질문 {number}?", source="file")
        origins = [{"model": "runs/sft", "step": 10 * place, "sampling": {"seed": place}} for place in range(answers)]
        made.append((prompt, store.add_candidates(prompt, [f"답 {place}" for place in range(answers)], origins)))
    return made


def told(call: Callable[[], object]) -> str:
    """The message of the error a call ends with."""
    from dodam.errors import DodamError

    with pytest.raises(DodamError) as error:
        call()
    return str(error.value)
