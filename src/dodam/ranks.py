"""Which of the processes that torchrun started this is, as its environment says, and which of them speaks.

Without torchrun a process is rank 0 of 1, and nothing here does anything. Of several, rank 0 speaks and writes; the
others are silent. Only the standard library is imported: what ranks say to one another is in train/distributed.py.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from dodam.errors import UsageError

LINGER = 5.0
"""Seconds that a rank which fails waits before it ends. torchrun stops all ranks as soon as one has ended, and rank 0
shall have told of what failed on all of them before that."""
STARTED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")

_alone = False
_tensor = _pipeline = _context = 1


def started() -> int:
    """How many ranks there are. UsageError where the environment says nonsense."""
    return _number("WORLD_SIZE", 1)


def world() -> int:
    """How many of them do together what is done now: all, or this one alone."""
    return 1 if _alone else started()


def rank() -> int:
    """Which of those this is."""
    return 0 if _alone else _number("RANK", 0)


def tensor() -> int:
    """How many neighbouring ranks compute each product together, on the same rows (tensor parallel)."""
    return 1 if _alone else _tensor


def pipeline() -> int:
    """How many neighbouring ranks have some of the blocks each, and see the same rows one after another."""
    return 1 if _alone else _pipeline


def context() -> int:
    """How many neighbouring ranks have some positions each of the same rows."""
    return 1 if _alone else _context


def together() -> int:
    """How many neighbouring ranks read the same rows, for whichever reason."""
    return tensor() * pipeline() * context()


def set_together(*, tensor: int, pipeline: int, context: int) -> None:
    global _tensor, _pipeline, _context
    _tensor, _pipeline, _context = tensor, pipeline, context


def replicas() -> int:
    """How many shares a step's rows are read in: one for each group of such ranks."""
    return world() // together()


def replica() -> int:
    """Which of them this rank reads."""
    return rank() // together()


def local_world() -> int:
    """How many of them are on this machine."""
    return _number("LOCAL_WORLD_SIZE", 1)


def local_rank() -> int:
    """Which of those this is."""
    return _number("LOCAL_RANK", 0)


def _number(name: str, alone: int) -> int:
    if any(key not in os.environ for key in STARTED):
        return alone
    value = os.environ.get(name, str(alone))
    if not value.isdecimal():
        raise UsageError(f"{name} is not a number ({value})", where="environment", mend="Start ranks with torchrun.")
    return int(value)


@contextmanager
def alone() -> Iterator[None]:
    """Within, this rank does something that the others wait for: it is rank 0 of 1."""
    global _alone
    before, _alone = _alone, True
    try:
        yield
    finally:
        _alone = before


def hush() -> None:
    """Have this rank say nothing from now on."""
    sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - until the process ends


def linger() -> None:
    """Wait before ending in failure, see `LINGER`; a signal ends it."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    time.sleep(LINGER)
