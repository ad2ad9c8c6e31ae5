"""The helper of a checkout: `python dev.py VERB` makes `.venv`, installs what the verb needs, and runs it.

In comes a verb (VERBS below) and arguments for the program behind it; out comes that program's exit code. It needs only
the standard library. Stamps in `.venv` say what is installed, so that a second run installs nothing and starts at once.
"""

from __future__ import annotations  # so that an older Python gets as far as the message at the end

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
SCRIPTS = "Scripts" if os.name == "nt" else "bin"
PYTEST = ["pytest", "-q", "-n", "2", "--dist", "worksteal"]  # neighbours share what a module has made
VERBS = {  # verb: (dependency groups beside the package itself, programs of .venv to run)
    "quickstart": ([], [["dodam", "run", "recipes/quickstart.toml"]]),
    "test": (["test"], [PYTEST]),
    "interop": (["test", "interop"], [[*PYTEST, "-m", "interop or slow"]]),
    "lint": (["lint"], [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["pyrefly", "check"]]),
    "types": (["lint"], [["pyrefly", "check"]]),
    "docs": (["docs"], [["sphinx-build", "-q", "-W", "--keep-going", "docs", "docs/_build"]]),
    "bench": (["test"], [["python", "bench/train.py"]]),
}
TORCH = "torch==2.13.0"
CPU_WHEELS = ["--index-url", "https://download.pytorch.org/whl/cpu", "--retries", "1", "--timeout", "15"]


class InstallError(Exception):
    """An installation failed; the text is what to tell the user."""


def main(verb: str = "", *arguments: str) -> int:
    """Set up for the verb and run its programs; extra arguments go to the last of them."""
    if verb not in VERBS:
        print(f"usage: python dev.py {'|'.join(VERBS)} [ARGUMENTS]", file=sys.stderr)
        return 2
    groups, programs = VERBS[verb]
    os.chdir(ROOT)
    try:
        install(groups)
    except InstallError as error:
        print(f"dodam: {error}", file=sys.stderr)
        return 1
    for program in programs[:-1]:
        if code := run(program):
            return code
    code = run([*programs[-1], *arguments])
    if verb == "quickstart" and code != 0:
        say("what is done is kept: `make quickstart` goes on with it")
    if verb == "quickstart" and code == 0:
        dodam = Path(".venv", SCRIPTS, "dodam")
        print(f"\nTalk to it:  {dodam} chat runs/quickstart\nUse your own text:  {dodam} grow TEXT... --budget 1h")
    return code


def install(groups: list[str]) -> None:
    """Make `.venv` and install the package and the groups, unless their stamps say that this was done."""
    import tomllib  # Python 3.11, which __main__ has checked

    lock = (ROOT / "pyproject.toml").read_bytes() + (ROOT / "constraints.txt").read_bytes()
    stamps = {group: VENV / f"installed-{group}" for group in ["dodam", *groups]}
    digest = hashlib.sha256(lock).hexdigest()
    if all(stamp.is_file() and stamp.read_text() == digest for stamp in stamps.values()):
        return
    start = time.monotonic()
    make_venv(VENV)
    if not imports(VENV, "torch"):
        say("installing PyTorch, once (0.2 GB; several GB with CUDA) ...")
        install_torch(VENV)
    say("installing the other packages, a few minutes without a word ...")
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
    packages = [package for group in groups for package in table[group]]
    if error := pip(VENV, "-c", str(ROOT / "constraints.txt"), "-e", str(ROOT), *packages):
        raise InstallError(error)
    for stamp in stamps.values():
        stamp.write_text(digest)
    say(f"installed in {time.monotonic() - start:.0f} s")


def make_venv(folder: Path) -> None:
    """A virtual environment with pip; one that is there already is kept."""
    if imports(folder, "pip"):
        return
    say(f"making {folder}")
    try:
        venv.create(folder, with_pip=True)
    except (OSError, subprocess.CalledProcessError) as error:
        mend = "On Debian and Ubuntu: sudo apt install python3-venv. Then run the same command again."
        raise InstallError(f"{folder}: cannot make a virtual environment ({error}). {mend}") from None


def install_torch(folder: Path) -> None:
    """The build that fits the machine: without an NVIDIA GPU under Linux the small CPU one, else PyPI's."""
    ways = [[TORCH]]
    if sys.platform == "linux" and not shutil.which("nvidia-smi"):
        ways = [[f"{TORCH}+cpu"], [TORCH, *CPU_WHEELS], *ways]  # from pip's own configuration, from PyTorch's index
    for way in ways:
        error = pip(folder, "--no-deps", *way)  # what torch needs comes with the other packages, from the lock
        if not error:
            return
    raise InstallError(error)


def pip(folder: Path, *arguments: str) -> str:
    """`pip install`; returns "" or, when it failed, what went wrong and the mend."""
    log = folder / "install.log"
    command = [program(folder, "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check", *arguments]
    with log.open("w", encoding="utf-8") as output:
        if subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False).returncode == 0:
            return ""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    reason = next((line for line in lines if line.startswith("ERROR:")), "pip failed")
    mend = f"Check the network and pip's configuration, then run the same command again (or delete {folder} first)."
    return f"cannot install: {reason.removeprefix('ERROR:').strip()}\n{mend} All of pip's words: {log}"


def imports(folder: Path, module: str) -> bool:
    """Whether the environment's Python can import the module."""
    python = program(folder, "python")
    command = [python, "-c", f"import {module}"]
    return Path(python).exists() and subprocess.run(command, capture_output=True, check=False).returncode == 0


def program(folder: Path, name: str) -> str:
    """The path of a program in a virtual environment."""
    return str(folder / SCRIPTS / (f"{name}.exe" if os.name == "nt" else name))


def run(command: list[str]) -> int:
    """Run a program of `.venv` to its end. Ctrl-C and SIGTERM are the program's to answer, so that it can save."""
    signal.signal(signal.SIGINT, lambda *_: None)  # a terminal sends it to the program as well
    process = subprocess.Popen([program(VENV, command[0]), *command[1:]])
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    return process.wait()


def say(text: str) -> None:
    print(f"dodam: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    if sys.version_info < (3, 11):  # noqa: UP036 (whoever starts this may have an older one)
        sys.exit(f"dodam: Python 3.11 or newer is needed, this is {sys.version.split()[0]}. make VERB PY=python3.12")
    try:
        sys.exit(main(*sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit("dodam: stopped; the same command goes on")
