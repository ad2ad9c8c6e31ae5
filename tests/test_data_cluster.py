"""`prepare --engine ray`: what cluster.py makes of lost tasks, with a stand-in for Ray that loses them; and Ray itself
(`make interop`): the same bytes as on one machine, errors, kills, addresses, and no word of Ray's own.
"""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from dodam import cli
from dodam.data import cluster, engine, work
from dodam.errors import DodamError, UsageError
from test_data_pipeline import SIZES, is_running, made, tree, wait_until, write_corpus


@pytest.fixture(autouse=True)
def small_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts, row groups and files of some kB, so that a little text makes many tasks."""
    for name, size in SIZES.items():
        monkeypatch.setattr(f"dodam.data.{name}", size)
    for name in cluster.QUIET | cluster.ASKED:
        monkeypatch.setenv(name, os.environ.get(name, cluster.QUIET.get(name, "5")))  # and taken away again


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "corpus")


# A stand-in for Ray


class RayError(Exception):
    """Stands for that of Ray, and for a task whose process was killed."""


class RayTaskError(RayError):
    """A task that could not be begun on its machine."""


class OutOfMemoryError(RayError):
    """A task that was killed for its memory."""


class StandIn(ModuleType):
    """What cluster.py uses of Ray: tasks are done when they are given, and become ready in the opposite order. `losses`
    are raised, one after the other, instead of results."""

    def __init__(self, losses: Sequence[Exception] = ()) -> None:
        super().__init__("ray")
        self.losses, self.results, self.calls, self.most = list(losses), {}, [], 0
        self.exceptions = SimpleNamespace(
            RayError=RayError, RayTaskError=RayTaskError, OutOfMemoryError=OutOfMemoryError
        )

    def is_initialized(self) -> bool:
        return False

    def init(self, **settings: object) -> None:
        self.calls.append(settings)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # Ray takes the signal, too

    def shutdown(self) -> None:
        self.calls.append("shutdown")

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 4.0}

    def remote(self, **options: object):
        assert options == {"max_retries": 0}

        def begin(*arguments: object) -> object:
            reference = object()
            self.results[reference] = function(*arguments)
            self.most = max(self.most, len(self.results))
            return reference

        function = cluster.attempt_at
        return lambda found: SimpleNamespace(remote=begin)

    def wait(self, references: list, num_returns: int) -> tuple[list, list]:
        assert num_returns == 1
        return references[-1:], references[:-1]

    def get(self, reference: object) -> object:
        result = self.results.pop(reference)
        if self.losses:
            raise self.losses.pop(0)
        return result


def outcomes(ray: StandIn, workers: int | None, tasks: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> list:
    monkeypatch.setitem(sys.modules, "ray", ray)
    with engine.engine("ray", workers) as where:
        return list(engine.run(where, len, tasks))


def test_the_same_bytes_whichever_task_ends_first(tmp_path: Path, corpus: Path, monkeypatch) -> None:
    made(tmp_path / "local", str(corpus), workers=1)
    ray = StandIn([RayError("killed")] * 3)
    monkeypatch.setitem(sys.modules, "ray", ray)
    before = signal.getsignal(signal.SIGTERM)
    made(tmp_path / "ray", str(corpus), engine="ray", workers=4)
    assert signal.getsignal(signal.SIGTERM) == before
    assert tree(tmp_path / "ray") == tree(tmp_path / "local")
    assert ray.calls[0]["address"] == "local" and ray.calls[0]["num_cpus"] == 4 and ray.calls[1:] == ["shutdown"]
    assert ray.most == cluster.AHEAD * 4


def test_workers_are_a_limit_in_a_larger_cluster(monkeypatch) -> None:
    ray = StandIn()
    assert outcomes(ray, 3, ["a" * n for n in range(20)], monkeypatch) == list(range(20))
    assert ray.most == 3


def test_a_lost_task_is_begun_again_but_not_for_ever(monkeypatch) -> None:
    assert outcomes(StandIn([RayError("killed")] * 3), 1, ["abc"], monkeypatch) == [3]
    with pytest.raises(DodamError, match=r"lost on the Ray cluster 4 times \(its process was killed"):
        outcomes(StandIn([RayError("killed")] * 4), 1, ["abc"], monkeypatch)
    with pytest.raises(DodamError, match=r"memory ran out.*fewer --workers"):
        outcomes(StandIn([OutOfMemoryError("a page of text")] * 4), 1, ["abc"], monkeypatch)
    ray = StandIn([RayTaskError("trace\nModuleNotFoundError: No module named 'dodam'")])
    with pytest.raises(DodamError, match=r"cannot do the task \(ModuleNotFoundError.*All machines need the same"):
        outcomes(ray, 1, ["abc"], monkeypatch)


def test_a_machine_that_differs_is_told(tmp_path: Path) -> None:
    kind, (_, what, where, mend) = cluster.attempt_at(str(tmp_path / "no"), cluster.__version__, len, "abc")
    assert kind == "refused" and "cannot enter the folder" in what and where == str(tmp_path / "no") and mend
    kind, (_, what, _, mend) = cluster.attempt_at(os.getcwd(), "0.0.1", len, "abc")
    assert kind == "refused" and "0.0.1 is here" in what and "same version" in mend
    assert cluster.attempt_at(os.getcwd(), cluster.__version__, len, "abc") == ("result", 3)


def test_ray_that_is_not_there(tmp_path: Path, corpus: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match="Install it"):
        made(tmp_path / "out", str(corpus), engine="ray")
    with pytest.raises(UsageError, match="no effect without --engine ray"):
        made(tmp_path / "out", str(corpus), ray_address="head:6379")


@pytest.mark.parametrize(
    ("address", "code", "told"), [("", 1, "cannot be started"), ("auto", 2, "no Ray cluster answers")]
)
def test_ray_that_does_not_begin(tmp_path: Path, corpus: Path, monkeypatch, capsys, address, code, told) -> None:
    def init(**settings: object) -> None:
        raise Exception("The node timed out.\nMore of it")

    ray = StandIn()
    ray.init = init
    monkeypatch.setitem(sys.modules, "ray", ray)
    words = ["prepare", "--data", str(corpus), "--out", str(tmp_path / "out"), "--engine", "ray"]
    assert cli.main([*words, "--ray-address", address]) == code
    found = capsys.readouterr().err
    assert f"{told} " in found and "(The node timed out)" in found and found.count("\n") == 1


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:10001", "127.0.0.1:99999"])
def test_an_address_where_no_cluster_is(tmp_path: Path, corpus: Path, monkeypatch, capsys, address: str) -> None:
    ray = StandIn()
    monkeypatch.setitem(sys.modules, "ray", ray)
    words = ["prepare", "--data", str(corpus), "--out", str(tmp_path / "out"), "--engine", "ray"]
    assert cli.main([*words, "--ray-address", address]) == 2
    told = capsys.readouterr().err
    assert address in told and told.count("\n") == 1 and ray.calls == []


# Ray itself

real = [
    pytest.mark.interop,
    pytest.mark.skipif(not importlib.util.find_spec("ray"), reason="Ray is not installed (make interop)"),
]

DODAM = """
import sys
from dodam import cli
from dodam.data import parts, pipeline
for name, size in %r.items():
    module, _, name = name.partition(".")
    setattr(globals()[module], name, size)
sys.exit(cli.main(sys.argv[1:]))
"""
STOPPED = f"import time\nfrom dodam.data import pipeline\npipeline._decide = lambda *rest: time.sleep(600)\n{DODAM}"
TASKS = """
import json, sys
from dodam.data.engine import engine, run
from dodam.errors import DodamError
with engine("ray", None, sys.argv[1]) as where:
    try:
        print(json.dumps(list(run(where, eval, sys.argv[2:]))))
    except DodamError as error:
        print(error)
"""
KILLED = "__import__('os').kill(__import__('os').getpid(), 9)"


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A folder for Ray's files; its sockets want a short path."""
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture
def surroundings(home: Path) -> dict[str, str]:
    """The environment of commands."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    source = str(Path(cli.__file__).parent.parent)
    return {**ours, "HOME": str(home), "RAY_TMPDIR": str(home), "PYTHONPATH": source}


@pytest.fixture(scope="module")
def head(home: Path) -> Iterator[str]:
    """The address of a cluster that is there, of two cores, which asks for a token."""
    secret = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "ab" * 32, "RAY_worker_niceness": "0"}
    environment = {**os.environ, "HOME": str(home), **secret, "RAY_USAGE_STATS_ENABLED": "0"}
    environment["PYTHONPATH"] = str(Path(cli.__file__).parent.parent)
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--port", "0"]
    command += ["--num-cpus", "2", "--include-dashboard", "false", "--temp-dir", str(home / "head")]
    written = home / "head" / "ray_current_cluster"
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: (written.is_file() and written.read_text()) or process.poll() is not None)
        yield written.read_text().strip()
        process.terminate()


@pytest.fixture
def inside(surroundings: dict[str, str]) -> dict[str, str]:
    """The environment with the cluster's token."""
    return {**surroundings, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "ab" * 32}


def run(script: str, *words: object, folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", script % SIZES if "%r" in script else script, *map(str, words)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def prepared(tmp_path: Path, corpus: Path) -> dict[str, bytes]:
    """The data folder of the local engine."""
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(tmp_path)
        made(tmp_path / "local", corpus.name, workers=1)
    return tree(tmp_path / "local")


class TestRay:
    pytestmark = real

    @pytest.mark.parametrize("workers", [1, 2])
    def test_a_cluster_for_the_run(self, tmp_path: Path, corpus: Path, surroundings, home: Path, workers: int) -> None:
        words = ["prepare", "--data", corpus.name, "--out", "out", "--engine", "ray", "--workers", workers, "--json"]
        done = run(DODAM, *words, folder=tmp_path, environment=surroundings)
        assert done.returncode == 0, done.stderr
        assert tree(tmp_path / "out") == prepared(tmp_path, corpus)
        assert json.loads(done.stdout)["documents"] > 100  # nothing but our result
        assert all(line.startswith("prepare: ") for line in done.stderr.splitlines()), done.stderr
        assert not [pid for pid in os.listdir("/proc") if pid.isdecimal() and belongs(pid, home)]

    def test_a_cluster_that_is_there(self, tmp_path: Path, corpus: Path, head: str, inside) -> None:
        words = ["prepare", "--data", corpus.name, "--out", "out", "--engine", "ray", "--ray-address", head]
        stopped = [sys.executable, "-c", STOPPED % SIZES, *words]
        with subprocess.Popen(stopped, cwd=tmp_path, env=inside, stderr=subprocess.DEVNULL) as process:
            wait_until(lambda: list(work.folder_of(tmp_path / "out").glob("0/*.json")) or process.poll() is not None)
            process.kill()
        done = run(DODAM, *words, folder=tmp_path, environment=inside)
        assert done.returncode == 0 and "goes on at" in done.stderr, done.stderr
        assert all(line.startswith("prepare: ") for line in done.stderr.splitlines()), done.stderr
        assert tree(tmp_path / "out") == prepared(tmp_path, corpus)

    def test_an_error_on_a_worker_is_told_as_it_is_here(self, tmp_path: Path, corpus: Path, head: str, inside) -> None:
        (corpus / "a.jsonl").write_text('{"text": "글"}\n{torn\n', encoding="utf-8")
        words = ["prepare", "--data", corpus.name, "--out", "out", "--workers", 1]
        here = run(DODAM, *words, folder=tmp_path, environment=inside)
        there = run(DODAM, *words, "--engine", "ray", "--ray-address", head, folder=tmp_path, environment=inside)
        assert (there.returncode, there.stderr) == (here.returncode, here.stderr)
        assert here.returncode == 1 and "a.jsonl:2" in here.stderr

    def test_workers_that_are_killed(self, tmp_path: Path, head: str, inside) -> None:
        flag = str(tmp_path / "flag")
        once = f"{KILLED} if not __import__('os').path.exists({flag!r}) and not open({flag!r}, 'x').close() else 7"
        done = run(TASKS, head, "1", once, "3", folder=tmp_path, environment=inside)
        assert json.loads(done.stdout) == [1, 7, 3] and done.stderr == ""
        done = run(TASKS, head, "1", KILLED, "3", folder=tmp_path, environment=inside)
        assert "lost on the Ray cluster 4 times (its process was killed" in done.stdout and done.stderr == ""

    def test_a_cluster_that_wants_a_token(self, tmp_path: Path, corpus: Path, head: str, surroundings) -> None:
        shutil.rmtree(Path(surroundings["HOME"]) / ".ray", ignore_errors=True)
        words = ["prepare", "--data", corpus.name, "--out", "out", "--engine", "ray", "--ray-address", head]
        done = run(DODAM, *words, folder=tmp_path, environment=surroundings)
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
        assert "no Ray cluster answers" in done.stderr and "RAY_AUTH_MODE=token" in done.stderr


def belongs(pid: str, home: Path) -> bool:
    """Whether a process that runs is one of the clusters that commands started here."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return is_running(pid) and str(home).encode() + b"/session_" in words
