"""What this machine is and what it can do: device, threads, dtype, compiler.

In comes nothing but the machine; out come choices that a run saves at step 0 and takes up again on resume, so that it
does not change under way.
"""

import ctypes
import logging
import os
import shutil
import sys
import sysconfig
import time
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from dodam.errors import UsageError

PROCESS_START = time.time()
_begun: float | None = None
DEVICES = ("auto", "cpu", "cuda", "mps")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The choices that shape every number of a run."""

    device: str
    threads: int
    dtype: str
    compiler: bool

    @property
    def torch_dtype(self) -> torch.dtype:
        return getattr(torch, self.dtype)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def look(device: str = "auto", threads: int | None = None) -> Machine:
    """Decide by what the machine says of itself (not by timing), so that the same machine always decides the same.

    UsageError for a device that is not here."""
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    here = accelerator.type if accelerator else "cpu"
    if device not in (*DEVICES, here):
        raise UsageError(f"there is no device `{device}`", where="--device", mend=f"Known: {', '.join(DEVICES)}.")
    if device not in ("auto", "cpu", here):
        found = "cpu" if here == "cpu" else f"cpu and {here}"
        raise UsageError(f"{device} is not on this machine, which has {found}", where="--device", mend="Or give auto.")
    device = here if device == "auto" else device
    if device == "cpu":
        fast_bf16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    else:
        fast_bf16 = device != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
    return Machine(
        device=device,
        threads=threads or num_cores(),
        dtype="bfloat16" if fast_bf16 else "float32",
        compiler=has_compiler(),
    )


def use(machine: Machine) -> None:
    """Set torch and the allocator up for `machine`."""
    torch.set_num_threads(machine.threads)
    keep_memory()
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(kernel_dir()))
    forgive_compiler()


def num_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_compiler() -> bool:
    """Whether torch.compile can work here: it needs a C++ compiler, Python's headers and a folder for its kernels."""
    found = any(shutil.which(name) for name in ("g++", "clang++", os.environ.get("CXX", "g++")))
    return found and (Path(sysconfig.get_path("include")) / "Python.h").is_file() and can_write(kernel_dir())


def can_write(folder: Path) -> bool:
    """Whether files can be put into a folder, which is made if it is not there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def forgive_compiler() -> None:
    """Have what cannot be compiled run uncompiled, with a line on standard error in place of pages of torch's."""
    # Read when torch._dynamo loads. Loading it here would cost every run some seconds, compiled or not.
    os.environ.setdefault("TORCHDYNAMO_SUPPRESS_ERRORS", "1")
    config: Any = sys.modules.get("torch._dynamo.config")
    if config is not None:
        config.suppress_errors = True
    logging.getLogger("torch._dynamo.convert_frame").addFilter(compiler_note)


def compiler_note(record: logging.LogRecord) -> bool:
    """A filter of torch's log: a failure to compile is told in one line, everything else passes."""
    if not record.exc_info or record.exc_info[1] is None:
        return True
    # The first line may only name the backend; the one after it then tells what happened.
    tell_uncompiled(" ".join(str(record.exc_info[1]).split("\n")[:2]).strip())
    return False


@cache
def tell_uncompiled(reason: str) -> None:
    """Say once for each reason that compiling failed."""
    print(f"compiling failed ({reason}); going on uncompiled, which is slower.", file=sys.stderr)


def cache_dir() -> Path:
    """Where this user's things are kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "dodam"


def kernel_dir() -> Path:
    """Where torch keeps compiled kernels: the folder it was told, else one in `cache_dir`."""
    return Path(os.environ.get("TORCHINDUCTOR_CACHE_DIR", cache_dir() / "inductor"))


def keep_memory() -> None:
    """Have glibc keep freed memory instead of mapping and faulting large temporaries anew at every step.

    Elsewhere: nothing."""
    set_up_malloc(mapped=1 << 30, trimmed=1 << 30, more=1 << 26)


def return_memory() -> None:
    """The contrary: what is freed goes back at once, so that a process never has more than it uses. For models that are
    spread over ranks because one has no room for them; pieces of a block are put together and freed all the time."""
    set_up_malloc(mapped=1 << 16, trimmed=1 << 17, more=0)


def set_up_malloc(*, mapped: int, trimmed: int, more: int) -> None:
    """glibc's thresholds in bytes: what is mapped by itself, what may lie free, what is asked for beside."""
    if sys.platform != "linux":
        return
    try:
        libc = ctypes.CDLL("libc.so.6")
        m_trim_threshold, m_top_pad, m_mmap_threshold = -1, -2, -3
        libc.mallopt(m_mmap_threshold, mapped)
        libc.mallopt(m_trim_threshold, trimmed)
        libc.mallopt(m_top_pad, more)
    except (OSError, AttributeError):
        return


def begin(started: float) -> None:
    """Have a budget count from `started`, a `time.monotonic()`: a call in Python counts from its own beginning."""
    global _begun
    _begun = started


def seconds_since_start() -> float:
    """Wall time since this process began, or since `begin`, so that a budget includes starting up."""
    if _begun is not None:
        return time.monotonic() - _begun
    try:
        fields = Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()
        uptime = float(Path("/proc/uptime").read_text().split()[0])
        return uptime - float(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return time.time() - PROCESS_START
