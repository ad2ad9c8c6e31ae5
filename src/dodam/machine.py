"""What this machine is and what it can do: device, threads, dtype, compiler.

In comes nothing but the machine; out come choices that a run saves at step 0 and takes up again on resume, so that it
does not change under way.
"""

import ctypes
import os
import shutil
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

PROCESS_START = time.time()


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
    """Decide by what the machine says of itself (not by timing), so that the same machine always decides the same."""
    if device == "auto":
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        device = accelerator.type if accelerator else "cpu"
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
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_dir() / "inductor"))


def num_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_compiler() -> bool:
    """Whether torch.compile can work here: it needs a C++ compiler on CPUs."""
    return any(shutil.which(name) for name in ("g++", "clang++", os.environ.get("CXX", "g++")))


def cache_dir() -> Path:
    """Where compiled kernels are kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "dodam"


def keep_memory() -> None:
    """Have glibc keep freed memory instead of mapping and faulting large temporaries anew at every step.
    Elsewhere: nothing."""
    if sys.platform != "linux":
        return
    try:
        libc = ctypes.CDLL("libc.so.6")
        m_trim_threshold, m_top_pad, m_mmap_threshold = -1, -2, -3
        libc.mallopt(m_mmap_threshold, 1 << 30)
        libc.mallopt(m_trim_threshold, 1 << 30)
        libc.mallopt(m_top_pad, 1 << 26)
    except (OSError, AttributeError):
        return


def seconds_since_start() -> float:
    """Wall time since this process began, so that a budget includes starting up."""
    try:
        fields = Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()
        uptime = float(Path("/proc/uptime").read_text().split()[0])
        return uptime - float(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return time.time() - PROCESS_START
