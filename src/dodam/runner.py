"""Command `run`: all stages of a recipe, or only what changed. In: a recipe. Out: `OUT/STAGE/` for each stage,
`OUT/model` (a link to the last model), `OUT/report.json` and `OUT/report.md`, and a table of times and peak memory.

A finished stage leaves `stage.json` in its folder, with the fingerprint of its config and of everything it read; as
long as that holds, the stage is not run again. A stage that was broken off goes on; one that changed starts over, and
what it had made is kept in `OUT/.running/STAGE` until the new one has finished.
"""

import contextlib
import json
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
from dodam.files import check_format, lock, read_json, write_json
from dodam.recipe import Recipe, Stage, read

FORMAT = 1
UP_TO_DATE, GOES_ON, CHANGED, NEW = "up to date", "goes on", "changed, starts over", "starts"
KEPT = "as before the last change, is put back"
COPY = ".copy"
"""The file that tells a copied `OUT/model` from one that was trained there."""

HEADLINES = {
    "prepare": ("documents", "bytes"),
    "tokenizer train": ("vocabulary", "bytes_per_token"),
    "pretrain": ("parameters", "steps", "validation"),
    "sft": ("parameters", "steps", "validation"),
    "reward": ("parameters", "steps", "accuracy"),
    "dpo": ("parameters", "steps", "accuracy"),
    "ppo": ("parameters", "steps", "validation"),
    "grpo": ("parameters", "steps", "validation"),
}
"""What the table at the end shows of a stage's result; of other kinds it shows the first numbers."""

PATIENCE = 30
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
    _check_model(recipe.out)
    if config.dry_run:
        return _plan(recipe)
    recipe.out.mkdir(parents=True, exist_ok=True)
    records: dict[str, dict[str, Any]] = {}
    with _locked(recipe.out) as held:
        _say(recipe.title)
        for number, stage in enumerate(recipe.stages, start=1):
            fingerprint = _fingerprint(stage, records)
            state = _state(stage, fingerprint)
            on = f", on {stage.ranks} ranks" if stage.ranks > 1 else ""
            _say(f"[{number}/{len(recipe.stages)}] {stage.name}{on}: {state}")
            if state == KEPT:
                _put_back(stage)
            if state in (KEPT, UP_TO_DATE):
                _tidy(stage)
            else:
                _redo(stage, fingerprint, state, held, config)
            records[stage.name] = _record(stage.folder)
        model, report = _link_model(recipe), _copy_report(recipe)
    print(_table(records))
    for name, path in (("model", model), ("report", report)):
        if path:
            print(f"{name}  {path}")
    return {
        "out": str(recipe.out),
        "model": model and str(model),
        "report": report and str(report),
        "stages": [{"name": name, **record} for name, record in records.items()],
        "seconds": round(time.monotonic() - started, 3),
    }


def _plan(recipe: Recipe) -> dict:
    records: dict[str, dict[str, Any]] = {}
    stages = []
    for stage in recipe.stages:
        redone = [name for name in stage.needs if name not in records]
        state = f"runs after {redone[0]}" if redone else _state(stage, _fingerprint(stage, records))
        if state in (KEPT, UP_TO_DATE):
            records[stage.name] = _record(_aside(stage) if state == KEPT else stage.folder)
        on = f", on {stage.ranks} ranks" if stage.ranks > 1 else ""
        print(f"{stage.name}  ({stage.kind}{on}): {state}")
        for key, value in stage.values().items():
            print(f"    {key} = {json.dumps(value, ensure_ascii=False)}")
        stages.append(
            {"name": stage.name, "kind": stage.kind, "state": state, "ranks": stage.ranks, "config": stage.values()}
        )
    return {"out": str(recipe.out), "stages": stages}


def _fingerprint(stage: Stage, records: dict[str, dict[str, Any]]) -> str:
    from dodam import __version__

    upstream = {name: f"{records[name]['fingerprint']} {records[name]['finished']}" for name in stage.needs}
    return stage.fingerprint(__version__, upstream)


def _state(stage: Stage, fingerprint: str) -> str:
    if _record(stage.folder).get("fingerprint") == fingerprint:
        return UP_TO_DATE
    if _record(_aside(stage)).get("fingerprint") == fingerprint:
        return KEPT
    if _started(stage, fingerprint).exists():
        return GOES_ON
    return CHANGED if stage.folder.exists() else NEW


def _record(folder: Path) -> dict[str, Any]:
    """What the finished stage left in its folder; empty if it has not finished."""
    path = folder / "stage.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    check_format(record.get("format"), FORMAT, path)
    return record


def _started(stage: Stage, fingerprint: str) -> Path:
    """The config of a stage under way; it lies outside the stage's folder, which the stage may replace as a whole."""
    return stage.folder.parent / ".running" / f"{stage.name}-{fingerprint}.json"


def _aside(stage: Stage) -> Path:
    """Where the last finished folder of a changed stage is kept until the new one has finished."""
    return stage.folder.parent / ".running" / stage.name


def _redo(stage: Stage, fingerprint: str, state: str, held: int, config: Run) -> None:
    started = _started(stage, fingerprint)
    if state == GOES_ON:
        _adopt(stage)
    else:
        _set_aside(stage)
    write_json(started, stage.values())
    finished = run_stage([*stage.kind.split(), "--config", str(started)], keep_open=(held,), num_ranks=stage.ranks)
    again = f"Go on with: {_command_line(config)}"
    if finished.exit_code != 0:
        kept = f"; the one before is kept in {_aside(stage)}" if _aside(stage).exists() else ""
        if finished.stopped:
            raise Interrupted(f"stopped in stage `{stage.name}`{kept}", where=str(config.recipe), mend=again)
        raise DodamError(_failure(stage, finished.exit_code) + kept, where=str(config.recipe), mend=again)
    record = {
        "format": FORMAT,
        "kind": stage.kind,
        "fingerprint": fingerprint,
        "finished": time.time(),
        "seconds": round(finished.seconds, 3),
        "resumed": state == GOES_ON,
        "peak_bytes": finished.peak_bytes,
        "ranks": stage.ranks,
        "result": finished.result,
        "config": stage.values(),
    }
    write_json(stage.folder / "stage.json", record)
    _tidy(stage)
    if finished.stopped:
        raise Interrupted(f"stopped after stage `{stage.name}`", where=str(config.recipe), mend=again)


def _adopt(stage: Stage) -> None:
    """Have a stage go on with how it is to be computed now: its own record may hold other knobs, or an older place."""
    path = stage.folder / "config.json"
    if path.is_file():
        values = stage.values()
        write_json(path, {key: values.get(key, value) for key, value in read_json(path).items()})


def _set_aside(stage: Stage) -> None:
    """Make room. What an earlier run finished is kept, and so is a beginning if there is nothing better to keep."""
    aside = _aside(stage)
    aside.parent.mkdir(exist_ok=True)
    if stage.folder.exists():
        _check_ours(stage)
        if _record(aside) and not _record(stage.folder):
            shutil.rmtree(stage.folder)
        else:
            shutil.rmtree(aside, ignore_errors=True)
            stage.folder.rename(aside)
    if aside.exists():
        _say(f"{stage.folder} as it was is kept in {aside} until the new one has finished")
    for path in _starts(stage):
        path.unlink()


def _put_back(stage: Stage) -> None:
    """Undo `_set_aside`: the recipe is what it was before."""
    if stage.folder.exists():
        _check_ours(stage)
        shutil.rmtree(stage.folder)
    _aside(stage).rename(stage.folder)


def _tidy(stage: Stage) -> None:
    """Remove what only a stage under way needs."""
    shutil.rmtree(_aside(stage), ignore_errors=True)
    for path in _starts(stage):
        path.unlink()


def _starts(stage: Stage) -> list[Path]:
    return [*_aside(stage).parent.glob(f"{stage.name}-{'?' * 16}.json")]


def _check_ours(stage: Stage) -> None:
    """What no run of this stage left in its place is the user's and stays."""
    if not _starts(stage) and not (stage.folder / "stage.json").exists() and any(stage.folder.iterdir()):
        mend = "Choose another --out, or move the folder away."
        raise UsageError("was not made by this recipe and would be replaced", where=str(stage.folder), mend=mend)


def _failure(stage: Stage, exit_code: int) -> str:
    if exit_code < 0:
        return f"stage `{stage.name}` was killed by signal {-exit_code}, often because memory ran out"
    return f"stage `{stage.name}` failed; the reason is above, finished stages are kept"


def _command_line(config: Run) -> str:
    words = ["dodam", "run", str(config.recipe)]
    words += [word for text in config.set for word in ("--set", text)]
    return shlex.join(words + (["--out", str(config.out)] if config.out else []))


@contextlib.contextmanager
def _locked(out: Path) -> Iterator[int]:
    """Hold the folder for this run; the lock goes away with the processes that hold it. Yields its file descriptor."""
    with open(out / ".lock", "a", encoding="utf-8") as file:
        patient_until = None
        while not lock(file.fileno()):
            if patient_until is None:
                _say(f"{out}: waiting for another run to leave this folder")
                patient_until = time.monotonic() + PATIENCE
            if time.monotonic() > patient_until:
                mend = "Wait for it, stop it, or choose another --out."
                raise DodamError("another run is working in this folder", where=str(out), mend=mend)
            time.sleep(0.1)
        yield file.fileno()


def _check_model(out: Path) -> None:
    """A model that was trained in the folder by hand is not replaced."""
    model = out / "model"
    if model.exists() and not model.is_symlink() and not (model / COPY).exists():
        raise UsageError("holds a model this recipe did not make", where=str(out), mend="Choose another --out.")


def _link_model(recipe: Recipe) -> Path | None:
    """`OUT/model`: a link to the model of the last stage that has one, a copy where links are not possible."""
    made = [stage for stage in recipe.stages if (stage.folder / "model").is_dir()]
    if not made:
        return None
    link, temporary = recipe.out / "model", recipe.out / ".model"
    _check_model(recipe.out)  # hours may have passed
    _remove(temporary)
    if not link.is_symlink():
        _remove(link)
    try:
        temporary.symlink_to(Path(made[-1].name) / "model", target_is_directory=True)
    except OSError:
        shutil.copytree(made[-1].folder / "model", temporary)
        (temporary / COPY).touch()
    temporary.replace(link)
    return link


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _copy_report(recipe: Recipe) -> Path | None:
    """`OUT/report.json`, `OUT/report.md` and its pictures, from the last stage that wrote a report of measurements."""
    made = [stage for stage in recipe.stages if (stage.folder / "report.json").is_file()]
    if not made:
        return None
    for path in made[-1].folder.glob("report*"):
        shutil.copy2(path, recipe.out / path.name)
    return recipe.out / "report.md"


def _table(records: dict[str, dict[str, Any]]) -> str:
    rows = [("stage", "time", "peak memory", "result")]
    for name, record in records.items():
        peak = f"{record['peak_bytes'] / 2**30:.2f} GB" if record["peak_bytes"] else "-"
        length = _length(record["seconds"]) + (" (after a break)" if record["resumed"] else "")
        rows.append((name, length, peak, _headline(record["kind"], record["result"])))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = ["  ".join([*map(str.ljust, row[:3], widths), row[3]]).rstrip() for row in rows]
    return "\n".join(lines)


def _length(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else f"{seconds // 60:.0f} min {seconds % 60:02.0f} s"


def _headline(kind: str, result: dict[str, Any]) -> str:
    """The numbers in what a command returned that tell most; of a report the first tasks of the last model."""
    if rows := result.get("rows"):
        result = {row["task"]: row["value"] for row in rows if row["model"] == rows[-1]["model"]}
    shown = [(name, result[name]) for name in HEADLINES.get(kind, result) if isinstance(result.get(name), int | float)]
    return ", ".join(f"{name} {value:{',' if isinstance(value, int) else ',.4g'}}" for name, value in shown[:5])


def _say(text: str) -> None:
    if text:
        print(text, file=sys.stderr, flush=True)
