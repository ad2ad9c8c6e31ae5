"""Two tiny commands for the tests of recipes. Run as a script this file is `dodam` with these two commands more."""

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import Ge

from dodam import child, cli
from dodam.errors import DodamError
from dodam.files import write_atomic, write_json

COMMANDS = {
    "collect": cli.Command("recipe_stages", "Collect", "Copy texts into one file."),
    "count": cli.Command("recipe_stages", "Count", "Count letters, one step at a time."),
}


@dataclass(frozen=True, kw_only=True)
class Collect:
    """Copy texts into one file."""

    data: tuple[str, ...]
    out: Path
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Count:
    """Count to `steps`, saving each step; the model is the list of everything that was done."""

    data: str
    out: Path
    steps: Annotated[int, Ge(1)] = 3
    pause: float = 0.0
    fail: str = ""
    replay: Path | None = None
    threads: int | None = None


@dataclass(frozen=True, kw_only=True)
class Named:
    """Has a flag --name."""

    out: Path
    name: str


def run(config):
    """Both commands: a module has one `run`."""
    config.out.mkdir(parents=True, exist_ok=True)
    with open(config.out / "log", "a") as log:
        log.write(f"start {os.getpid()}\n")
    if isinstance(config, Collect):
        text = "".join(Path(path).read_text() for path in config.data)
        (config.out / "text").write_text(text)
        return {"documents": len(config.data), "seed": config.seed}
    threads = {"stage": "count", "threads": getattr(config, "threads", None)}
    settings = config.out / "config.json"
    if settings.exists() and json.loads(settings.read_text()) != threads:
        raise DodamError("was begun with other threads")
    write_json(settings, threads)
    if config.fail:
        raise DodamError(config.fail, where="here", mend="Mend it.")
    state = config.out / "state"
    done = int(state.read_text()) if state.exists() else 0
    try:
        for step in range(done, config.steps):
            time.sleep(config.pause)
            write_atomic(state, str(step + 1))
            print(f"step {step + 1}", flush=True)
    except KeyboardInterrupt:
        (config.out / "saved").touch()
        raise
    (config.out / "model").mkdir(exist_ok=True)
    (config.out / "model" / "weights").write_text(f"{Path(config.data, 'text').read_text()} {config.steps}")
    for name in ("report.json", "report.md"):
        (config.out / name).write_text(config.out.name)
    return {"letters": len(Path(config.data, "text").read_text()), "loss": 0.5}


if __name__ == "__main__":
    cli.COMMANDS.update(COMMANDS)
    child.CHILD = [sys.executable, __file__, "stage"]
    sys.exit(child.main() if sys.argv.pop(1) == "stage" else cli.main())
