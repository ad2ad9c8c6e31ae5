"""Other processes that compute on this machine, and how our threads wait beside them.

OpenMP's threads wait awake for one another at the end of every parallel part. While all cores are ours that is the
quickest; beside another busy process it holds up the very thread that is waited for, and a step takes three times as
long where two would do (docs/benchmarks.md).
"""

import os
import time
from pathlib import Path

WAITING = "GOMP_SPINCOUNT"  # how many turns they wait awake; read when torch is loaded
POLITE = "1000"
LOADS = Path("/proc/loadavg")
LOOKS, BETWEEN = 5, 0.002  # seconds


_gives_way = False


def make_way() -> None:
    """Have our threads sleep soon where others compute now, for as long as this process lives. What the environment
    says of it stays."""
    global _gives_way
    if WAITING not in os.environ and are_busy():
        os.environ[WAITING], _gives_way = POLITE, True


def gives_way() -> bool:
    """Whether that was done here."""
    return _gives_way


def own_environment() -> dict[str, str]:
    """The environment without it, for a process that shall look for itself."""
    return {key: value for key, value in os.environ.items() if key != WAITING or not _gives_way}


def are_busy() -> bool:
    """Whether at most of some looks there was more to be run than this process; not known beside Linux, so no."""
    found = 0
    for _ in range(LOOKS):
        try:
            found += int(LOADS.read_text().split()[3].split("/")[0]) > 1
        except (OSError, ValueError, IndexError):
            return False
        time.sleep(BETWEEN)
    return found > LOOKS // 2
