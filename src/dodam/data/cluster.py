"""Tasks on Ray: a cluster that is there, or one started here for the run. In and out as in engine.py.

Each task is a Ray task of one core that Ray does not repeat: it would repeat one that runs out of memory for ever. A
task whose process or machine is lost is begun again here, some times. Tasks read and write files and hand back a note,
so all machines need Dodam and the same folders (a shared disk), and nothing large passes through Ray.
"""

import os
import signal
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from dodam import __version__
from dodam.data.engine import cores
from dodam.data.worker import Attempt, attempt
from dodam.errors import DodamError, UsageError

AHEAD = 2  # tasks a core has been given before the first is done
TIMES = 4  # a task is begun, before it is given up
PATIENCE = 10.0  # seconds in which a cluster's machine must answer at all
OBJECT_BYTES = 1 << 27  # of shared memory for what tasks take and hand back
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # Ray sends nobody figures about the run
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".*",  # what machines of the cluster say, which Ray would print among our results
}
"""What Ray reads from the environment when it is imported. What the user has set there stays."""
ASKED = {"RAY_NUM_REDIS_GET_RETRIES": "5"}  # times that whoever listens at an address is asked to let us in


@contextmanager
def cluster(workers: int | None, address: str) -> Iterator["Cluster"]:
    """Connect to the cluster at `address`, to use `workers` of its cores (None: all); without an address start a
    cluster of so many cores, which ends with the block. UsageError where Ray is not installed or nobody answers."""
    address = "" if address == "local" else address  # Ray's word for a cluster of one's own
    for name, value in (QUIET | ASKED if address else QUIET).items():
        os.environ.setdefault(name, value)
    try:
        import ray  # type: ignore[missing-import]
    except ImportError:
        raise UsageError("--engine ray needs Ray", mend="Install it: pip install 'dodam[cluster]'.") from None
    known = ray.is_initialized()  # by a program that calls us
    if not known:
        _connect(ray, workers, address)
    try:
        yield Cluster(ray, workers)
    finally:
        if not known:
            ray.shutdown()  # ends the tasks that are running


def _connect(ray: Any, workers: int | None, address: str) -> None:
    settings = {"logging_level": "critical", "log_to_driver": False}
    if address:
        settings |= {"address": address}
        _knock(address)
    else:
        settings |= {"address": "local", "num_cpus": workers or cores(), "include_dashboard": False}
        # processes of the priority of others: Ray would give them a niceness of 15, and any other work goes first
        settings |= {"object_store_memory": OBJECT_BYTES, "_system_config": {"worker_niceness": 0}}
    before = signal.getsignal(signal.SIGTERM)
    try:
        with _muted():
            ray.init(**settings)
    except SystemExit:  # Ray's answer to SIGTERM
        raise KeyboardInterrupt from None
    except Exception as error:  # a bare one where starting takes too long
        raise _unconnected(error, address) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


@contextmanager
def _muted() -> Iterator[None]:
    """Within, nothing reaches standard error: Ray's own code writes there whenever a cluster does not let us in."""
    sys.stderr.flush()
    with open(os.devnull, "w") as nowhere:
        kept = os.dup(2)
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _knock(address: str) -> None:
    """UsageError where nothing listens at HOST:PORT, which Ray would ask for minutes."""
    if "://" in address:
        mend = "Name HOST:PORT, as `ray start` shows it, or auto."
        raise UsageError("is an address of Ray Client, which tasks are not given to", where=address, mend=mend)
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():  # `auto`, or what Ray will refuse
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise UsageError(f"no Ray cluster answers ({error})", where=f"--ray-address {address}") from None


def _unconnected(error: Exception, address: str) -> DodamError:
    """The first line of what Ray says, and for what it says far below, a mend."""
    told = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".:")
    if not address:
        return DodamError(f"Ray cannot be started here ({told})", mend="Without --engine ray nothing needs it.")
    mend = ""
    if "auth" in f"{error} {error.__cause__}".lower():
        mend = "It asks for its token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN if ~/.ray/auth_token is not here."
    return UsageError(f"no Ray cluster answers ({told})", where=f"--ray-address {address}", mend=mend)


class Cluster:
    """Does tasks on the cores of a cluster."""

    def __init__(self, ray: Any, workers: int | None) -> None:
        self.ray, self.workers = ray, workers

    def _most(self) -> int:
        """Tasks to be given to the cluster at one time."""
        cores = max(1, int(self.ray.cluster_resources().get("CPU", 1)))
        return self.workers if self.workers and self.workers < cores else AHEAD * cores

    def outcomes(self, function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[tuple[int, Attempt]]:
        remote = self.ray.remote(max_retries=0)(attempt_at)
        most = self._most()
        numbers = iter(range(len(tasks)))
        begun: Counter[int] = Counter()
        running: dict[Any, int] = {}
        stop = False

        def begin(number: int) -> None:
            begun[number] += 1
            running[remote.remote(os.getcwd(), __version__, function, tasks[number])] = number

        while True:
            while not stop and len(running) < most and (number := next(numbers, None)) is not None:
                begin(number)
            if not running:
                return
            (ready,), _ = self.ray.wait(list(running), num_returns=1)
            number = running.pop(ready)
            try:
                outcome = self.ray.get(ready)
            except self.ray.exceptions.RayError as error:
                if self._lost(error) and begun[number] < TIMES:
                    begin(number)
                    continue
                outcome = ("refused", self._told(error, begun[number]))
            stop = stop or outcome[0] != "result"
            yield number, outcome

    def _lost(self, error: Exception) -> bool:
        """Whether a task's process or machine has gone; else it could not be begun there, and will not be."""
        return not isinstance(error, self.ray.exceptions.RayTaskError)

    def _told(self, error: Exception, times: int) -> tuple[type[DodamError], str, str, str]:
        last = str(error).strip().splitlines()[-1]
        if not self._lost(error):
            what = f"a machine of the Ray cluster cannot do the task ({last})"
            return DodamError, what, "", "All machines need the same Python, Dodam and its packages."
        out_of_memory = isinstance(error, self.ray.exceptions.OutOfMemoryError)
        why = "memory ran out" if out_of_memory else "its process was killed, or its machine is gone"
        mend = "If the machines are short of memory, try fewer --workers. What was done is kept; start it again."
        return DodamError, f"a task was lost on the Ray cluster {times} times ({why})", "", mend


def attempt_at(folder: str, version: str, function: Callable[[Any], Any], task: Any) -> Attempt:
    """`attempt` on a machine of the cluster, in the folder where the command was given, so that paths mean the same."""
    if version != __version__:
        what = f"a machine of the Ray cluster has Dodam {__version__}, and {version} is here"
        return "refused", (DodamError, what, socket.gethostname(), "Install the same version everywhere.")
    try:
        os.chdir(folder)
    except OSError as error:
        what = f"a machine of the Ray cluster ({socket.gethostname()}) cannot enter the folder ({error.strerror})"
        return "refused", (DodamError, what, folder, "All machines need the same folders, under the same names.")
    return attempt(function, task)
