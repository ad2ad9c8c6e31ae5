"""Tasks on Ray, a cluster that is there or one started here for the run. In and out as in engine.py.

All nodes need Dodam and the same folders (a shared disk): tasks name files. Written for Ray 2.50 and later.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from dodam.data.worker import Attempt, attempt
from dodam.errors import DodamError, UsageError

AHEAD = 2  # tasks a core has been given before the first is done


@contextmanager
def cluster(workers: int, address: str) -> Iterator["Cluster"]:
    """Connect to the cluster at `address`; without one start a cluster of `workers` cores, which ends with the block.
    UsageError where Ray is not installed or nobody answers."""
    try:
        import ray  # type: ignore[missing-import]
    except ImportError:
        raise UsageError("--engine ray needs Ray", mend="Install it: pip install 'dodam[cluster]'.") from None
    known = ray.is_initialized()  # by a program that calls us
    if not known:
        ours = {"address": "local", "num_cpus": workers, "include_dashboard": False}
        try:
            ray.init(**({"address": address} if address else ours))
        except ConnectionError as error:
            raise UsageError(f"no Ray cluster answers ({error})", where=f"--ray-address {address}") from None
    try:
        yield Cluster(ray)
    finally:
        if not known:
            ray.shutdown()


class Cluster:
    """Each task a Ray task of one core. A task whose worker dies is begun again by Ray: tasks may be done twice."""

    def __init__(self, ray: Any) -> None:
        self.ray = ray
        self.most = AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))

    def outcomes(self, function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[tuple[int, Attempt]]:
        remote = self.ray.remote(attempt)
        waiting = iter(enumerate(tasks))
        running: dict[Any, int] = {}
        stop = False
        while True:
            while not stop and len(running) < self.most and (entry := next(waiting, None)) is not None:
                running[remote.remote(function, entry[1])] = entry[0]
            if not running:
                return
            (ready,), _ = self.ray.wait(list(running), num_returns=1)
            number = running.pop(ready)
            try:
                outcome = self.ray.get(ready)
            except self.ray.exceptions.RayError as error:
                outcome = ("refused", (DodamError, f"a task was lost on the Ray cluster ({error})", "", ""))
            stop = stop or outcome[0] != "result"
            yield number, outcome
