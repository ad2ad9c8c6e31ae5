"""A run followed by trackers: a hook of the training loop that hands rows to a thread for each tracker.

In come the rows of metrics.jsonl; each goes once to every tracker. What is told is noted before, in
OUT/tracking/NAME.jsonl: a run that goes on tells what the tracker missed and nothing twice. Whatever a tracker does,
the training neither waits for it nor fails with it.
"""

import contextlib
import json
import queue
import re
import sys
import threading
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeGuard

from dodam import files
from dodam.tracking.trackers import PATIENCE, TRACKERS, Tracker, Watched

NOT_TOLD = ("step", "progress", "remaining")
"""What a row has for the console only, or as its place."""
LARGEST = 1e300


class Note:
    """What a tracker was told of a run. A file of JSON lines: the run's id, what the tracker calls it, then a line for
    each row. The last one may be torn."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.id, self.called = "", ""
        self.told: dict[str, int] = {}
        for row in json_lines(path)[0]:
            self.id, self.called = row.get("id", self.id), row.get("called", self.called)
            if "kind" in row:
                self.told[row["kind"]] = row["step"]
        if not self.id:
            self.id = uuid.uuid4().hex[:16]
            files.write_atomic(path, json.dumps({"id": self.id}) + "\n")

    def name(self, called: str) -> None:
        if called != self.called:
            self.called = called
            self.add({"called": called})

    def tell(self, row: dict[str, Any]) -> None:
        self.told[kind_of(row)] = row["step"]
        self.add({"kind": kind_of(row), "step": row["step"]})

    def knows(self, row: dict[str, Any]) -> bool:
        return row["step"] <= self.told.get(kind_of(row), -1)

    def add(self, line: dict[str, Any]) -> None:
        # The line before may have been torn by a kill: an empty line harms nobody, and what follows is whole.
        files.append_line(self.path, "\n" + json.dumps(line))


class Follower:
    """A hook that tells one tracker, by a thread of its own."""

    def __init__(self, name: str, tracker: Tracker, run: Watched, patience: float | None = None) -> None:
        self.name, self.tracker, self.run = name, tracker, run
        self.patience = PATIENCE if patience is None else patience
        self.rows: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self.ending: tuple[bool, dict[str, float]] = (False, {})
        self.thread = threading.Thread(target=self.work, name=f"tracking with {name}", daemon=True)

    def start(self, step: int) -> None:
        """Begin, with what the run has told already: the note knows what of it the tracker has."""
        for row in json_lines(self.run.folder / "metrics.jsonl")[0]:
            self.rows.put(row)
        self.thread.start()

    def step(self, row: dict[str, Any]) -> None:
        self.rows.put(row)

    def validate(self, row: dict[str, Any]) -> None:
        if "validation" in row:
            self.rows.put(row)

    def end(self) -> None:
        pass

    def close(self, finished: bool, result: dict[str, float]) -> None:
        """Wait for the tracker to have everything, for a while."""
        if not self.thread.ident:  # the run failed before its loop began
            return
        self.ending = (finished, result)
        self.rows.put(None)
        self.thread.join(self.patience)
        if self.thread.is_alive():
            told = "all numbers are in metrics.jsonl"
            print(f"{self.name} has not taken everything after {self.patience:.0f} s; {told}.", file=sys.stderr)

    def work(self) -> None:
        """The thread: until the last row, or until the tracker fails, which is said once."""
        try:
            note = Note(self.run.folder / "tracking" / f"{self.name}.jsonl")
            note.name(self.tracker.open(replace(self.run, id=note.id, called=note.called)))
            while (row := self.rows.get()) is not None:
                if not note.knows(row) and (numbers := numbers_of(row)):
                    note.tell(row)
                    self.tracker.log(row["step"], numbers)
            self.tracker.close(*self.ending)
        except BaseException as error:  # some end with SystemExit
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            told = "the training goes on, its numbers are in metrics.jsonl"
            print(f"tracking with {self.name} stopped ({reason}); {told}.", file=sys.stderr)


@dataclass
class Following:
    """The hooks of a run that is followed, and what it ended with."""

    hooks: list[Follower]
    result: dict[str, Any] | None = None


@contextlib.contextmanager
def following(names: Sequence[str], folder: Path, settings: dict[str, Any]) -> Iterator[Following]:
    """Within, trackers follow the run in `folder`; it is finished when it has a `result`. What they print goes to
    standard error, as standard output is for results."""
    where = folder.absolute()
    run = Watched(name=f"{where.parent.name}/{where.name}", id="", folder=where, settings=flat(settings))
    found = Following([Follower(name, TRACKERS[name](), run) for name in dict.fromkeys(names)])
    if not names:
        yield found
        return
    with contextlib.redirect_stdout(sys.stderr):
        try:
            yield found
        finally:
            for hook in found.hooks:
                hook.close(found.result is not None, numbers_of(found.result or {}))


def kind_of(row: dict[str, Any]) -> str:
    """Which of the two rows a step may have."""
    return "loss" if "loss" in row else "validation"


def numbers_of(row: dict[str, Any]) -> dict[str, float]:
    """The numbers of a row that are told; one that is none (NaN) is left out, as some servers refuse it."""
    return {name: float(value) for name, value in row.items() if name not in NOT_TOLD and is_number(value)}


def is_number(value: Any) -> TypeGuard[int | float]:
    """Whether it is a number that can be sent and drawn: not infinite, not NaN."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST


def flat(settings: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Nested settings as `lora.rank: 4`, lists as text, without what is not set and without passwords."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        name = f"{before}{key}"
        if isinstance(value, dict):
            found |= flat(value, f"{name}.")
        elif isinstance(value, bool | int | float):
            found[name] = value
        elif value is not None:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            found[name] = without_password(text)
    return found


def without_password(text: str) -> str:
    """The text with user and password of its URLs as `***`."""
    return re.sub(r"(://)[^/@\s\"]*@", r"\1***@", text)


def json_lines(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The objects of a file of JSON lines, and how many lines were none: the last one may be half written."""
    try:
        lines = path.read_bytes().decode("utf-8", errors="replace").split("\n")
    except OSError:
        return [], 0
    found, torn = [], 0
    for line in filter(str.strip, lines):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict):
            found.append(row)
        else:
            torn += 1
    return found, torn
