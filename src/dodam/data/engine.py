"""Where tasks run: in this process, in processes of this machine, or on a Ray cluster.

In: a function of a module and its tasks. Out: the results in the order of the tasks, whatever ran them and whichever
ended first; of several errors the one of the earliest task. So what is made of them depends on no engine.
"""

import itertools
import os
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Literal, Protocol

from dodam.data.worker import Attempt, attempt, result_of
from dodam.errors import DodamError, UsageError

EngineName = Literal["local", "ray"]
WORKER = [sys.executable, "-P", "-m", "dodam.data.worker"]
"""How a worker is started; `-P` keeps a file in the user's folder from standing in for a module."""


class Engine(Protocol):
    """Something that does tasks."""

    def outcomes(self, function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[tuple[int, Attempt]]:
        """The outcomes with the numbers of their tasks, as they come. Tasks are begun in order; after one that ended
        with an error no further one is begun."""
        ...


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def engine(name: EngineName, workers: int | None, address: str = "") -> Iterator[Engine]:
    """The engine of that name; its processes end with the block. Without a number of `workers` it has the cores of this
    machine, or of the cluster at `address`. UsageError where Ray is not installed."""
    if name == "ray":
        from dodam.data.cluster import cluster

        with cluster(workers, address) as found:
            yield found
        return
    if address:
        raise UsageError("--ray-address has no effect without --engine ray")
    pool = Processes(workers or cores())
    try:
        yield pool
    finally:
        pool.close()


def run(
    where: Engine,
    function: Callable[[Any], Any],
    tasks: Sequence[Any],
    arrived: Callable[[int], None] = lambda number: None,
) -> Iterator[Any]:
    """The results of all tasks in their order. `arrived` is told each task's number when it is done."""
    early: dict[int, Attempt] = {}
    wanted = 0
    for number, outcome in where.outcomes(function, tasks):
        early[number] = outcome
        if outcome[0] == "result":
            arrived(number)
        while wanted in early:
            yield result_of(early.pop(wanted))
            wanted += 1
    assert wanted == len(tasks), "an engine left out a task"


class Processes:
    """Processes of this machine, each started when there is a task for it and then kept. One task alone, or one worker,
    needs none: it is done here."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.started: list[subprocess.Popen] = []

    def outcomes(self, function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[tuple[int, Attempt]]:
        if min(self.workers, len(tasks)) <= 1:
            for number, task in enumerate(tasks):
                yield number, attempt(function, task)
            return
        numbers, finished = itertools.count(), queue.SimpleQueue[tuple[int, Attempt] | None]()
        stop = threading.Event()
        while len(self.started) < min(self.workers, len(tasks)):
            self.started.append(subprocess.Popen(WORKER, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        threads = [
            threading.Thread(target=_feed, args=(worker, function, tasks, numbers, finished, stop), daemon=True)
            for worker in self.started
        ]
        for thread in threads:
            thread.start()
        at_work = len(threads)
        try:
            while at_work:
                one = finished.get()
                if one is None:
                    at_work -= 1
                    continue
                if one[1][0] != "result":
                    stop.set()
                yield one
        finally:
            stop.set()

    def close(self) -> None:
        for worker in self.started:
            worker.kill()
        for worker in self.started:
            worker.wait()
            for stream in (worker.stdin, worker.stdout):
                with suppress(OSError):  # a task that was never read
                    stream.close()  # type: ignore[union-attr]


def _feed(
    worker: subprocess.Popen,
    function: Callable[[Any], Any],
    tasks: Sequence[Any],
    numbers: Iterator[int],
    finished: "queue.SimpleQueue[tuple[int, Attempt] | None]",
    stop: threading.Event,
) -> None:
    """Give a worker one task after another until there are none, it is dead, or all are to stop; then None."""
    try:
        while not stop.is_set() and (number := next(numbers)) < len(tasks):  # next() of a count is atomic
            try:
                pickle.dump((function, tasks[number]), worker.stdin)  # type: ignore[arg-type]
                worker.stdin.flush()  # type: ignore[union-attr]
                outcome = pickle.load(worker.stdout)  # type: ignore[arg-type]
            except (OSError, EOFError, ValueError, pickle.UnpicklingError):
                finished.put((number, _died(worker)))
                return
            finished.put((number, outcome))
    finally:
        finished.put(None)


def _died(worker: subprocess.Popen) -> Attempt:
    code = worker.wait()
    what = f"a worker process was killed (signal {-code})" if code < 0 else f"a worker process ended with {code}"
    mend = "If the machine is short of memory, try fewer --workers. What was done is kept; start it again."
    return "refused", (DodamError, what, "", mend)
