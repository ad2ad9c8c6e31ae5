"""A stage in a process of its own, or in several as ranks (`launcher.py`). In: a command and its config file. Out: what
it returned, its time and peak memory.

So its memory is free again before the next stage starts, and a crash costs that stage only. A signal to the runner
reaches the stage once; if the runner dies, however it dies, the stage dies with it and leaves the folder unlocked.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from dodam import neighbours, ranks

CHILD = [sys.executable, "-P", "-m", "dodam.child"]
"""How a stage is started; `-P` keeps a file in the user's folder from standing in for a module."""
LAUNCHER = [sys.executable, "-P", "-m", "dodam.launcher"]
"""How one is started on several ranks."""
LOOK = 0.5
"""Seconds between two looks of a rank whether its launcher is still there."""


if sys.platform == "win32":
    # There SIGINT would end the stage at once; Ctrl-Break reaches it, but only as the head of a group of its own.
    STOP, GROUP = signal.CTRL_BREAK_EVENT, subprocess.CREATE_NEW_PROCESS_GROUP
else:
    STOP, GROUP = signal.SIGINT, 0


class Finished(NamedTuple):
    """How a stage ended."""

    exit_code: int
    """0 done, 1 or 2 failed, below 0 killed by that signal."""
    stopped: bool
    """Whether the runner was asked to stop meanwhile."""
    result: dict[str, Any]
    """What the command returned."""
    seconds: float
    peak_bytes: int | None
    """The most memory that it, or one of its ranks, held, where the system tells."""


def run_stage(words: list[str], keep_open: tuple[int, ...] = (), num_ranks: int = 1) -> Finished:
    """Run `dodam WORDS... --json` on so many ranks, passing its output through; `keep_open` are file descriptors it
    holds open too."""
    started = time.monotonic()
    start = CHILD if num_ranks == 1 else [*LAUNCHER, str(num_ranks)]
    process = subprocess.Popen(
        [*start, *words, "--json"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        env={**neighbours.own_environment(), "PYTHONUNBUFFERED": "1"},
        start_new_session=True,  # Ctrl-C in a terminal goes to the whole group: the stage shall get it once, from us
        creationflags=GROUP,
        pass_fds=keep_open if os.name == "posix" else (),
    )
    assert process.stdin and process.stdout
    with process.stdin, process.stdout, _forwarded_signals(process.pid) as received:
        last = ""
        for line in process.stdout:
            if last:
                print(last, flush=True)
            last = line.rstrip("\n")
        exit_code, peak_bytes = _wait(process)
    if exit_code != 0 and last:
        print(last, flush=True)
    result = json.loads(last) if exit_code == 0 else {}
    return Finished(exit_code, bool(received), result, time.monotonic() - started, peak_bytes)


@contextmanager
def _forwarded_signals(pid: int) -> Iterator[list[int]]:
    """Pass signals on to the stage, which saves and leaves; yields the list of those received."""
    received: list[int] = []

    def forward(number: int, frame: object) -> None:
        received.append(number)
        with suppress(ProcessLookupError):  # it has just ended
            os.kill(pid, STOP)

    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield received
        return
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    before = {name: signal.signal(getattr(signal, name), forward) for name in names if hasattr(signal, name)}
    try:
        yield received
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


def _wait(process: subprocess.Popen) -> tuple[int, int | None]:
    """The exit code and the peak memory in bytes of a process that has closed its output."""
    if not hasattr(os, "wait4"):
        return process.wait(), None
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def leave_with_runner() -> None:
    """Have this process end at once when the runner is gone, however it went."""
    threading.Thread(target=_wait_for_end_of_runner, daemon=True).start()


def _wait_for_end_of_runner() -> None:
    os.read(0, 1)  # returns when the runner, which never writes, is gone
    os._exit(1)


def _leave_with_launcher() -> None:
    """The same for a rank, whose parent is the launcher."""
    launcher = os.getppid()
    while os.getppid() == launcher:
        time.sleep(LOOK)
    os._exit(1)


def stop_as_ctrl_c() -> None:
    """Have what the runner sends to stop a stage end it as Ctrl-C would."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored in what a shell starts with `&`
    if sys.platform == "win32":
        signal.signal(signal.SIGBREAK, lambda number, frame: signal.raise_signal(signal.SIGINT))


def main() -> int:
    """The stage's side: run the command line, leave at once if the runner is gone."""
    from dodam.cli import main as run_command

    stop_as_ctrl_c()
    leave_with_runner()
    if ranks.started() > 1:
        threading.Thread(target=_leave_with_launcher, daemon=True).start()
    return run_command(in_recipe=True)


if __name__ == "__main__":
    sys.exit(main())
