"""Python that a model wrote, run in a process of its own with limits: time, memory, files, processes, network.

In comes code; out comes whether it ran to its end, and what it printed. What this keeps out are accidents, not
attackers: see `docs/rewards.md` for what it does not protect from.
"""

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from typing import Any, Literal

MOST_OUTPUT = 1 << 16  # bytes that are kept of what it prints

# Runs inside: sets the limits, then the code. It is given on the command line, so that a file of the same name beside
# it cannot take its place; the code comes in by standard input and sees none of these names.
INSIDE = r"""
import json, os, sys
asked = json.loads(sys.stdin.buffer.read())
def limit():
    import ctypes
    try:
        import resource
    except ImportError:
        return
    def most(name, value):
        kind = getattr(resource, name, None)
        if kind is not None:
            hard = resource.getrlimit(kind)[1]
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            try:
                resource.setrlimit(kind, (value, value))
            except (ValueError, OSError):
                pass
    if sys.platform == "linux":
        try:
            NEW_USER, NEW_NETWORK = 0x10000000, 0x40000000
            libc = ctypes.CDLL(None, use_errno=True)
            cut = libc.unshare(NEW_USER | NEW_NETWORK) == 0 or libc.unshare(NEW_NETWORK) == 0
            libc.prctl(38, 1, 0, 0, 0)  # no new privileges
        except OSError:
            cut = False
        if cut:
            os.write(asked["tell"], b"network gone\n")
    most("RLIMIT_AS", asked["memory"])
    most("RLIMIT_CPU", asked["seconds"])
    most("RLIMIT_FSIZE", asked["file"])
    most("RLIMIT_NOFILE", 32)
    most("RLIMIT_CORE", 0)
    most("RLIMIT_NPROC", 0)
limit()
sys.stdin = open(os.devnull)
exec(compile(asked["code"], "<answer>", "exec"), {"__name__": "__main__"})
os.write(asked["tell"], asked["word"].encode())  # not reached by code that leaves early, with whatever exit code
"""


@dataclass(frozen=True)
class Ran:
    """How it went: to the end of the code, with an error or an exit before it, or too long. `networkless` says whether
    the system let the network be taken away."""

    ended: Literal["well", "error", "time"]
    output: str
    networkless: bool

    @property
    def well(self) -> bool:
        return self.ended == "well"


def run_python(code: str, *, seconds: float = 5.0, memory: int = 512 << 20, file: int = 1 << 20) -> Ran:
    """Run code in an empty folder with an empty environment. It is killed, with all it started, after `seconds` of wall
    time; it may have `memory` bytes of address space, write files of `file` bytes, and, unless we are root, start no
    process."""
    word = secrets.token_hex(8)
    asked: dict[str, Any] = {"code": code, "memory": memory, "seconds": int(seconds) + 1}
    # What it says goes into files and no pipes: they can be read however the process ends.
    with (
        tempfile.TemporaryDirectory(prefix="dodam-sandbox-") as folder,
        tempfile.TemporaryFile() as said,
        tempfile.TemporaryFile() as told,
    ):
        asked |= {"file": max(file, MOST_OUTPUT), "tell": told.fileno(), "word": word}
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-X", "utf8", "-c", INSIDE],
            stdin=subprocess.PIPE, stdout=said, stderr=subprocess.STDOUT, cwd=folder,
            env={"PATH": os.defpath}, start_new_session=True, pass_fds=(told.fileno(),),
        )  # fmt: skip
        ended: Literal["well", "error", "time"] = "error"
        try:
            process.communicate(json.dumps(asked).encode(), timeout=seconds)
        except subprocess.TimeoutExpired:
            ended = "time"
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        told.seek(0)
        said.seek(0)
        lines = told.read(MOST_OUTPUT).decode(errors="replace").split("\n")
        if ended != "time" and lines[-1] == word and process.returncode == 0:
            ended = "well"
        return Ran(ended, said.read(MOST_OUTPUT).decode("utf-8", errors="replace"), "network gone" in lines)
