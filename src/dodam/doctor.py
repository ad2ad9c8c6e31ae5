"""Command `doctor`: what this machine can do for training and serving, what is wrong with it, and how to mend that.

In: nothing but the machine. Out: one finding for each check, as lines on standard output. A finding is `good`, `slow`
(works, but not as well as it could) or `bad` (something cannot work).
"""

import importlib.util
import os
import platform
import re
import shutil
import socket
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le

from dodam import CallableModule

sys.modules[__name__].__class__ = CallableModule  # `dodam.doctor(...)` is the command

OLDEST_PYTHON = (3, 11)
LITTLE_DISK = 5_000_000_000  # bytes: a run folder of a small model, its checkpoints and its data
LITTLE_MEMORY = 4_000_000_000  # bytes: what the quickstart needs, with some to spare
SIDE = 1024  # of the square matrices that are multiplied
PROBE_SECONDS = 0.5
Grade = Literal["good", "slow", "bad"]


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """Say what this machine can do, what is wrong with it, and how to mend that."""

    out: Path = Path("runs")
    """Where runs are to be written: how much room is there."""
    port: Annotated[int, Ge(1), Le(65535)] = 8000
    """The port that `dodam serve` is to have."""
    probe: bool = True
    """Measure how fast matrices are multiplied, a second or two."""


@dataclass(frozen=True)
class Finding:
    """What one check found; `mend` says what to do about it."""

    check: str
    grade: Grade
    found: str
    mend: str = ""

    def __str__(self) -> str:
        return f"{self.grade:<5}{self.check:<10}{self.found}" + (f"\n{'':15}{self.mend}" if self.mend else "")


def run(config: Doctor) -> dict[str, Any]:
    """Check everything and print the findings; returns them, and how many are of which grade."""
    findings = []
    for check in CHECKS:
        for finding in check(config):
            print(finding, flush=True)
            findings.append(finding)
    grades = {grade: sum(finding.grade == grade for finding in findings) for grade in ("good", "slow", "bad")}
    print(f"{grades['good']} good, {grades['slow']} slow, {grades['bad']} bad.", file=sys.stderr)
    return {**grades, "findings": [asdict(finding) for finding in findings]}


def check_python(_: Doctor) -> Iterator[Finding]:
    """Whether this Python is new enough and has 64 bits."""
    found = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    if sys.version_info < OLDEST_PYTHON:
        yield Finding("python", "bad", found, "Python 3.11 or newer is needed.")
    elif sys.maxsize < 2**32:
        yield Finding("python", "bad", f"{found}, of 32 bits", "torch needs a Python of 64 bits.")
    else:
        yield Finding("python", "good", found)


def check_packages(_: Doctor) -> Iterator[Finding]:
    """Whether everything that was asked for at installing can be found; what only some commands need is told."""
    missing, optional = [], {}
    try:
        needed = requires("dodam") or []
    except PackageNotFoundError:
        yield Finding("packages", "slow", "dodam is not installed, only its source is here", "pip install -e .")
        return
    for line in needed:
        name, extra = re.split(r"[\s\[<>=!~;(]", line)[0], re.search(r"extra\s*==\s*['\"]([\w-]+)", line)
        if not installed(name):
            optional.setdefault(extra[1], []).append(name) if extra else missing.append(name)
    if missing:
        yield Finding("packages", "bad", f"missing: {', '.join(missing)}", f"pip install {' '.join(missing)}")
    else:
        yield Finding("packages", "good", f"dodam {version('dodam')} and all that it needs")
    for extra, names in optional.items():
        found = f"not installed, needed by some commands only: {', '.join(names)}"
        yield Finding("packages", "good", found, f"pip install 'dodam[{extra}]'")


def installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def check_torch(config: Doctor) -> Iterator[Finding]:
    """Whether torch loads, what device it uses, and how fast that multiplies matrices."""
    if importlib.util.find_spec("torch") is None:
        yield Finding("torch", "bad", "not installed", "pip install torch")
        return
    import torch

    from dodam import machine as machines

    machine = machines.look()
    yield Finding("torch", "good", f"{torch.__version__}, runs on {device_name(machine.device)}")
    if machine.device == "cpu" and shutil.which("nvidia-smi"):
        mend = "Install the build of torch for CUDA; https://pytorch.org tells the command."
        yield Finding("torch", "slow", "there is an NVIDIA GPU, and this build of torch does not use it", mend)
    rates = measured(machine) if config.probe else {}
    told = "".join(f", {rate:,.0f} GFLOP/s in {dtype}" for dtype, rate in rates.items())
    found = f"matrices multiply in {machine.dtype}{told}"
    slower = len(rates) == 2 and rates["bfloat16"] < rates["float32"]
    if slower:
        yield Finding("numbers", "slow", found, "Train with --dtype float32: it is faster here.")
    elif machine.dtype == "float32":
        yield Finding("numbers", "good", f"{found}; this processor is not made for bfloat16")
    else:
        yield Finding("numbers", "good", found)


def device_name(device: str) -> str:
    """What torch computes on, with its memory where it is a GPU."""
    import torch

    if device != "cuda":
        return "the CPU" if device == "cpu" else device
    about = torch.cuda.get_device_properties(0)
    return f"{torch.cuda.device_count()} x {about.name}, {about.total_memory / 1e9:.0f} GB"


def measured(machine: Any) -> dict[str, float]:
    """GFLOP/s of a product of square matrices in each dtype that is fast here, the median over `PROBE_SECONDS`."""
    import torch

    from dodam import machine as machines

    machines.use(machine)
    rates = {}
    for dtype in dict.fromkeys(("float32", machine.dtype)):
        left, right = (torch.ones(SIDE, SIDE, dtype=getattr(torch, dtype), device=machine.device) for _ in range(2))
        times: list[float] = []
        end = time.perf_counter() + PROBE_SECONDS
        while time.perf_counter() < end or len(times) < 3:
            began = time.perf_counter()
            (left @ right)[0, 0].item()  # to wait for the device
            times.append(time.perf_counter() - began)
        rates[dtype] = 2 * SIDE**3 / statistics.median(times) / 1e9
    return rates


def check_compiler(_: Doctor) -> Iterator[Finding]:
    """Whether long runs can be compiled."""
    from dodam import machine as machines

    if machines.has_compiler():
        yield Finding("compiler", "good", "long runs are compiled")
        return
    if not any(shutil.which(name) for name in ("g++", "clang++", os.environ.get("CXX", "g++"))):
        found, mend = "no C++ compiler", "Install one: apt-get install g++, or xcode-select --install on a Mac."
    elif not machines.can_write(machines.kernel_dir()):
        found = f"compiled kernels cannot be kept in {machines.kernel_dir()}"
        mend = "Set TORCHINDUCTOR_CACHE_DIR to a folder that can be written."
    else:
        found, mend = "Python's headers are not there", "Install them: apt-get install python3-dev."
    yield Finding("compiler", "slow", f"{found}: runs are not compiled, and long ones take up to twice the time", mend)


def check_threads(_: Doctor) -> Iterator[Finding]:
    """How many cores there are, and whether something else uses them."""
    from dodam import machine as machines

    cores = machines.num_cores()
    limit = os.environ.get("OMP_NUM_THREADS", "")
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    found = f"{cores} cores, load {busy:.1f}"
    if limit.isdigit() and int(limit) < cores:
        yield Finding("threads", "slow", f"{found}; OMP_NUM_THREADS is {limit}", "Unset it to use all cores.")
    elif busy > 0.5 * cores:
        mend = "Wait for what runs there, or train with --threads 1: threads that wait for each other suffer most."
        yield Finding("threads", "slow", f"{found}: something else uses them", mend)
    else:
        yield Finding("threads", "good", found)


def check_memory(_: Doctor) -> Iterator[Finding]:
    """How much memory is free; nothing where the system does not tell."""
    free = free_memory()
    if free is None:
        return
    found = f"{free / 1e9:.1f} GB free"
    if free < LITTLE_MEMORY:
        yield Finding(
            "memory", "slow", found, "Close other programs, or train with --microbatch 1 and a small --depth."
        )
    else:
        yield Finding("memory", "good", found)


def free_memory() -> int | None:
    """Bytes that programs can still have, less where the container is limited; None where that is not told."""
    told = Path("/proc/meminfo")
    if not told.is_file():
        return None
    free = int(told.read_text().partition("MemAvailable:")[2].split()[0]) * 1024
    group = Path("/sys/fs/cgroup")
    try:
        most, used = ((group / name).read_text().strip() for name in ("memory.max", "memory.current"))
    except OSError:
        return free
    return min(free, int(most) - int(used)) if most.isdigit() else free


def check_disk(config: Doctor) -> Iterator[Finding]:
    """Whether runs can be written where they are to go, and how much room there is."""
    from dodam import machine as machines

    there = next(folder for folder in (config.out, *config.out.absolute().parents) if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        yield Finding("disk", "bad", f"{there} cannot be written", "Choose another folder for runs: --out.")
        return
    room = shutil.disk_usage(there).free
    found = f"{room / 1e9:.1f} GB free for {config.out}"
    if room < LITTLE_DISK:
        yield Finding("disk", "slow", found, "A run needs a few GB: make room, or name another disk with --out.")
    else:
        yield Finding("disk", "good", found)
    if not machines.can_write(machines.cache_dir()):
        mend = "Set XDG_CACHE_HOME to a folder that can be written."
        yield Finding("disk", "slow", f"{machines.cache_dir()} cannot be written", mend)


def check_port(config: Doctor) -> Iterator[Finding]:
    """Whether the port of `dodam serve` is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", config.port))
        except OSError as error:
            mend = "Serve on another one: dodam serve MODEL --port 8001."
            yield Finding("port", "slow", f"{config.port} cannot be had ({error.strerror})", mend)
            return
    yield Finding("port", "good", f"{config.port} is free")


CHECKS: tuple[Callable[[Doctor], Iterator[Finding]], ...] = (
    check_python,
    check_packages,
    check_torch,
    check_compiler,
    check_threads,
    check_memory,
    check_disk,
    check_port,
)
