"""How far a run is and when it ends: its clock over all restarts, and its plan by steps, by time, or by both.

In come what the loop is asked to do and the steps it has done; out come the share that is done, whether to validate, to
go on, or to save and stop before the process is ended from outside.
"""

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dodam import ranks
from dodam.train import distributed

if TYPE_CHECKING:
    from dodam.train.loop import LoopConfig

LEAST_MARGIN = 10.0  # seconds before a process has to be done that it saves, beside what saving takes
ASIDE = 0.03  # share of a run's time that may go by between its steps, where it is bounded by the clock


@dataclass
class Clock:
    """Seconds of training used so far, over all restarts. Many ranks have one clock, rank 0's, and it stands still
    between two ticks."""

    used: float = 0.0
    since: float = field(default_factory=time.perf_counter)
    told: float | None = None

    def seconds(self) -> float:
        return self.used + time.perf_counter() - self.since if self.told is None else self.told

    def tick(self, stop: bool) -> bool:
        """Look at it on all ranks together; whether any of them is to stop."""
        if ranks.world() == 1:
            return stop
        self.told, stop = distributed.tick(self.used + time.perf_counter() - self.since, stop)
        return stop


class Plan:
    """How far a run is and when it ends, by steps, by the clock, or by whichever is further."""

    def __init__(self, config: "LoopConfig", clock: Clock, validated: int = 0, aside: float = 0.0) -> None:
        self.config, self.clock = config, clock
        self.validated = validated  # how many `validate_every` shares of the run have been validated
        self.step_seconds: list[float] = []
        self.aside = aside  # seconds between steps: validations, texts, copies of what a checkpoint is to hold
        self.look: float | None = None  # seconds of the last validation; None before the first
        self.looked = False  # whether one was made after the last step
        self.last = clock.seconds()

    def begin_step(self) -> None:
        """A step begins: what went by since the last one is no part of either."""
        now = self.clock.seconds()
        self.aside += now - self.last
        if self.looked:
            self.look, self.looked = now - self.last, False
        self.last = now

    def end_step(self) -> None:
        now = self.clock.seconds()
        self.step_seconds = [*self.step_seconds[-8:], now - self.last]
        self.last = now

    def usual(self) -> float:
        """Median seconds of the last steps; 0 before the first."""
        return sorted(self.step_seconds)[len(self.step_seconds) // 2] if self.step_seconds else 0.0

    def progress(self, step: int) -> float:
        """Share of the run that is done, from 0 to 1."""
        by_steps = step / self.config.steps if self.config.steps is not None else 0.0
        by_clock = self.clock.seconds() / self.config.seconds if self.config.seconds is not None else 0.0
        return min(1.0, max(by_steps, by_clock))

    def done(self, step: int) -> bool:
        """Whether no step fits any more, into the steps or into the time."""
        if self.config.steps is not None and step >= self.config.steps:
            return True
        seconds = self.config.seconds
        return seconds is not None and self.clock.seconds() + 0.5 * self.usual() >= seconds

    def validation_due(self, step: int, last: bool) -> bool:
        """At every `validate_every` of the run and after its last step; where the clock bounds the run, only where
        that leaves the steps their time."""
        turn = int(self.progress(step) / self.config.validate_every + 1e-9)
        self.looked = last or (turn > self.validated and self.affordable())
        self.validated = max(turn, self.validated)
        return self.looked

    def affordable(self) -> bool:
        """Whether another validation leaves the steps their time, by what the last one took; the first one does."""
        if self.config.seconds is None or self.look is None:
            return True
        return self.aside + self.look <= ASIDE * self.clock.seconds()

    def remaining(self, step: int) -> float:
        """Seconds still to go, as far as can be told."""
        by_steps = (self.config.steps - step) * self.usual() if self.config.steps is not None else math.inf
        by_clock = self.config.seconds - self.clock.seconds() if self.config.seconds is not None else math.inf
        return max(0.0, min(by_steps, by_clock))

    def out_of_time(self, saving: float) -> bool:
        """Whether the process has to end before another step and a save of so many seconds are surely done."""
        until = self.config.until
        return until is not None and time.time() + LEAST_MARGIN + 3 * saving + 2 * self.usual() > until
