"""Command `run`: all stages of a recipe, or only what changed. In: a recipe. Out: `OUT/STAGE/` for each stage,
`OUT/model` (a link to the last model), `OUT/report.json` and `OUT/report.md`, and a table of times and peak memory.

A finished stage leaves `stage.json` in its folder, with the fingerprint of its config and of everything it read; as
long as that holds, the stage is not run again. A stage that was broken off goes on; one that changed starts over.
"""

import contextlib
import json
import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from dodam.child import run_stage
from dodam.errors import DodamError, Interrupted, UsageError
from dodam.files import check_format, write_atomic
from dodam.recipe import Recipe, Stage, read

FORMAT = 1
PATIENCE = 10
"""Seconds to wait for the last stage of a run that was just killed to let go of the folder."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """Run a recipe: all its stages, or only what changed since the last run.

    A finished stage is not run again; a run that was stopped goes on where it was. To redo a stage, delete its folder.
    """

    positional: ClassVar[tuple[str, ...]] = ("recipe",)

    recipe: Path
    """The recipe, a TOML file."""
    set: tuple[str, ...] = ()
    """Change a value for this run: STAGE.KEY=VALUE, as in `--set pretrain.steps=100`. May be given more than once."""
    out: Path | None = None
    """Where to write; without it the recipe's own `out`, else `runs/` and the recipe's name."""
    dry_run: bool = False
    """Only say what would run."""


def run(config: Run) -> dict:
    """Bring every stage of the recipe up to date. Returns `out`, `model`, `report`, `stages` and `seconds`."""
    started = time.monotonic()
    recipe = read(config.recipe, config.set, config.out)
    if config.dry_run:
        return _plan(recipe)
    recipe.out.mkdir(parents=True, exist_ok=True)
    with _locked(recipe.out) as lock:
        _say(recipe.title or f"recipe {config.recipe}")
        shutil.rmtree(_old(recipe.out), ignore_errors=True)
        records: dict[str, dict[str, Any]] = {}
        for number, stage in enumerate(recipe.stages, start=1):
            fingerprint = _fingerprint(stage, records)
            record = _record(stage)
            state = _state(stage, record, fingerprint)
            _say(f"[{number}/{len(recipe.stages)}] {stage.name}: {state}")
            if state != UP_TO_DATE:
                record = _redo(stage, fingerprint, state, config, lock)
            records[stage.name] = record
        model, report = _link_model(recipe), _copy_report(recipe)
    print(_table(recipe, records))
