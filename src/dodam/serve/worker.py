"""A thread that owns one engine. The server's event loop hands it jobs; events come back through each job's queue.

Everything about an engine happens in its thread; everything about a job's queue happens in the event loop.
"""

import asyncio
import logging
import queue
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from dodam.generate.engine import Engine
from dodam.generate.sequence import Event, SamplingParams

logger = logging.getLogger(__name__)


class Full(Exception):
    """As many requests wait as may."""


class Stopped(Exception):
    """The server is shutting down, or the engine failed in this step."""


@dataclass(eq=False)
class Job:
    """The sequences of one HTTP request. `events` holds (index of the sequence, event or what went wrong)."""

    prompts: list[tuple[list[int], SamplingParams]]
    events: "asyncio.Queue[tuple[int, Event | Exception]]" = field(default_factory=asyncio.Queue)
    requests: dict[int, int] = field(default_factory=dict)
    """Index of a sequence -> its number in the engine; the worker's thread keeps it."""


class Add(NamedTuple):
    job: Job


class Cancel(NamedTuple):
    job: Job
    indexes: Iterable[int]


class Worker:
    """Runs one engine in a thread of its own from `start` to `stop`."""

    def __init__(self, engine: Engine, *, max_waiting: int) -> None:
        self.engine = engine
        self.most_open = engine.scheduler.max_rows + max_waiting
        self.num_open = 0
        self.commands: queue.SimpleQueue[Add | Cancel | None] = queue.SimpleQueue()
        self.running: dict[int, tuple[Job, int]] = {}
        self.thread = threading.Thread(target=self.work, name="dodam-engine", daemon=True)

    @property
    def alive(self) -> bool:
        return self.thread.is_alive()

    # Called in the event loop:

    def start(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.thread.start()

    def stop(self) -> None:
        """End the thread after its current step; open jobs are told so. May be called from a signal handler."""
        self.commands.put(None)

    def submit(self, prompts: list[tuple[list[int], SamplingParams]]) -> Job:
        """Queue the sequences of a request. Full when too many are open already, Stopped when the thread has ended."""
        if not self.alive:
            raise Stopped("the server is shutting down")
        if self.num_open + len(prompts) > self.most_open:
            raise Full
        self.num_open += len(prompts)
        job = Job(prompts)
        self.commands.put(Add(job))
        return job

    def cancel(self, job: Job, indexes: Iterable[int]) -> None:
        """Stop some sequences of a job; those that have ended are left alone."""
        self.commands.put(Cancel(job, tuple(indexes)))

    def close(self, job: Job) -> None:
        """The job's reader is done with it: whatever still runs is cancelled and its place given to others."""
        self.num_open -= len(job.prompts)
        self.cancel(job, range(len(job.prompts)))

    # Called in the thread:

    def work(self) -> None:
        while True:
            try:
                while not self.engine.busy or not self.commands.empty():
                    if (command := self.commands.get()) is None:
                        return self.end()
                    self.obey(command)
                self.report(self.engine.step())
            except Exception:
                logger.exception("the engine failed; its requests are dropped")
                self.fail(Stopped("the engine failed"))

    def end(self) -> None:
        """Tell every open job, those included that came in behind the order to stop."""
        while not self.commands.empty():
            if (command := self.commands.get()) is not None:
                self.obey(command)
        self.fail(Stopped("the server is shutting down"))

    def obey(self, command: Add | Cancel) -> None:
        match command:
            case Add(job):
                for index, (ids, params) in enumerate(job.prompts):
                    job.requests[index] = self.engine.add(ids, params)
                    self.running[job.requests[index]] = (job, index)
            case Cancel(job, indexes):
                for index in indexes:
                    if (request := job.requests.pop(index, None)) is not None:
                        self.engine.cancel(request)
                        self.running.pop(request, None)

    def report(self, events: list[Event]) -> None:
        """Hand a step's events over in one call, as waking the loop costs more than an event."""
        found: list[tuple[Job, int, Event | Exception]] = []
        for event in events:
            job, index = self.running[event.request]
            if event.reason is not None:
                del self.running[event.request], job.requests[index]
            found.append((job, index, event))
        self.hand_over(found)

    def fail(self, error: Exception) -> None:
        found: list[tuple[Job, int, Event | Exception]] = [(*place, error) for place in self.running.values()]
        for request in list(self.running):
            self.engine.cancel(request)
        self.running.clear()
        self.hand_over(found)

    def hand_over(self, found: list[tuple[Job, int, Event | Exception]]) -> None:
        def deliver() -> None:
            for job, index, event in found:
                job.events.put_nowait((index, event))

        if found and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(deliver)
