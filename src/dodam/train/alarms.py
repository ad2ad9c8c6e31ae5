"""Alarms of a run: what its own numbers say is going wrong, each with its likely cause and a mend.

In come rows of metrics.jsonl; out come alarms by kind. They are a function of the rows alone, so a run that goes on
tells the same. They stop nothing. A gradient that is no number ends a run (train/loop.py), an encoder's plateau is told
where it is measured (stages/masked.py), and what a reward hides is watched in rl/watch.py.
"""

import statistics
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from dodam.train.metrics import read_rows

Row = dict[str, Any]

TOGETHER = 5  # rows that are looked at as one, as single steps scatter
LOOKED = 100  # rows back from the newest in which a loss may have climbed
CLIMB = 0.3  # of what was learned so far that the loss may climb back
SURE = 6.0  # times what such means scatter by
WORSE = 0.01  # share by which held-back text may become worse
STRETCH, STRETCHES = 8, 8  # rows whose losses are compared, among so many such stretches
UNEVEN = 8.0  # times the variance that chance would give the means of the stretches
VISIBLE = 0.02  # of the loss, which is bent a little too


class Alarms:
    """A hook that tells each kind of alarm once. `nothing`: the loss in nats of a model that knows nothing, where the
    run goes on with one that knows something."""

    def __init__(self, stage: str, path: Path, nothing: float | None = None) -> None:
        self.stage, self.path, self.nothing = stage, path, nothing
        self.rows: list[Row] = []
        self.told: dict[str, str] = {}

    def start(self, step: int) -> None:
        """Those of the steps before are known from metrics.jsonl, and not told again."""
        self.rows = [row for row in read_rows(self.path) if row.get("step", 0) <= step]
        for count in range(1, len(self.rows) + 1):
            self.told |= found(self.rows[:count], self.nothing)

    def step(self, row: Row) -> None:
        self.look(row)

    def validate(self, row: Row) -> None:
        if "validation" in row:
            self.look(row)

    def end(self) -> None:
        pass

    def look(self, row: Row) -> None:
        self.rows.append(row)
        for kind, told in found(self.rows, self.nothing).items():
            if kind not in self.told:
                self.told[kind] = told
                start = "\r\x1b[K" if sys.stderr.isatty() else ""
                print(f"{start}{self.stage}: ALARM: {kind}: {told}.", file=sys.stderr)


def found(rows: Sequence[Row], nothing: float | None = None) -> dict[str, str]:
    """The alarms that the newest of these rows gives cause for, by kind."""
    steps = [row for row in rows if "loss" in row]
    if not steps:
        return {}
    told = {
        "strange text": knows_nothing(steps, nothing),
        "learning rate": climbing(steps),
        "learned by heart": learned_by_heart(rows, steps),
        "data order": out_of_order(steps),
    }
    return {kind: text for kind, text in told.items() if text}


def knows_nothing(steps: Sequence[Row], nothing: float | None) -> str:
    """A model that goes on, and begins worse than one that knows nothing."""
    loss = steps[0]["loss"]
    if nothing is None or len(steps) > 1 or loss <= nothing:
        return ""
    return (
        f"the model goes on, and its loss begins at {loss:.2f}, above the {nothing:.2f} of one that knows nothing: it "
        "never read such text, or its tokens meant something else. See that --model and its tokenizer belong together"
    )


def climbing(steps: Sequence[Row]) -> str:
    """The loss went up for good, as it does where the learning rate is too high."""
    if len(steps) < 3 * TOGETHER:
        return ""
    first, steps = statistics.fmean(row["loss"] for row in steps[:TOGETHER]), steps[-LOOKED:]
    losses = [row["loss"] for row in steps]
    means = [sum(losses[place : place + TOGETHER]) / TOGETHER for place in range(len(losses) - TOGETHER + 1)]
    now, best = means[-1], min(means)
    climb, learned = now - best, first - best
    # Scatter of a mean: neighbours differ by twice the variance of one.
    scatter = statistics.fmean((b - a) ** 2 for a, b in pairwise(losses)) / 2 / TOGETHER
    if climb < SURE * scatter**0.5 or climb < CLIMB * max(learned, 0.0):
        return ""
    step = steps[means.index(best) + TOGETHER - 1]["step"]
    norms = [row["gradient_norm"] for row in steps]
    usual, last = statistics.median(norms), statistics.median(norms[-TOGETHER:])
    grown = f", gradients are {last / usual:.0f} times as large as usual" if usual and last > 2 * usual else ""
    return (
        f"the loss climbed from {best:.3f} (step {step}) to {now:.3f}{grown}: the learning rate is probably too high. "
        "--learning-rate 0.3 or a longer --warmup mends that"
    )


def learned_by_heart(rows: Sequence[Row], steps: Sequence[Row]) -> str:
    """What is held back became worse twice while what is learned from becomes better."""
    looks = [row for row in rows if "validation" in row]
    if len(looks) < 3 or rows[-1] is not looks[-1]:
        return ""
    best = min(looks[:-2], key=lambda row: row["validation"])
    worse = all(row["validation"] > best["validation"] * (1 + WORSE) for row in looks[-2:])
    before = [row["loss"] for row in steps if row["step"] <= best["step"]][-TOGETHER:]
    now = [row["loss"] for row in steps][-TOGETHER:]
    if not worse or not before or statistics.fmean(now) >= statistics.fmean(before):
        return ""
    return (
        f"the loss on what is held back rose after step {best['step']} ({best['validation']:.4f}, now "
        f"{looks[-1]['validation']:.4f}) while the loss on what is learned fell from {statistics.fmean(before):.3f} to "
        f"{statistics.fmean(now):.3f}: it is learned by heart. Fewer steps, more text, dropout or --best mend that"
    )


def out_of_order(steps: Sequence[Row]) -> str:
    """Losses that come in stretches, high and low, as where like texts stand together. Looked at once in a while, of
    the second half of a run, where the loss falls slowly; the straight line through them is taken off."""
    count = STRETCH * STRETCHES
    if len(steps) < 2 * count or len(steps) % count or steps[-1].get("progress", 0.0) < 0.4:
        return ""
    losses = [row["loss"] for row in steps[-count:]]
    slope, intercept = statistics.linear_regression(range(count), losses)
    rest = [loss - slope * place - intercept for place, loss in enumerate(losses)]
    parts = [rest[first : first + STRETCH] for first in range(0, count, STRETCH)]
    within = statistics.fmean(statistics.variance(part) for part in parts)
    spread = statistics.stdev(statistics.fmean(part) for part in parts)
    between = STRETCH * spread**2
    if between < UNEVEN * within or spread < VISIBLE * abs(statistics.fmean(losses)):
        return ""
    return (
        f"the loss comes in stretches, {(between / max(within, 1e-12)) ** 0.5:.0f} times as far apart as chance would "
        "have them: like texts probably stand together. Mix the data before it is learned from"
    )
