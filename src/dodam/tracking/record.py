"""What a run folder tells of its run, be it finished, still going, or torn.

In comes a folder; out comes a record: settings, machine, rows of numbers, alarms, samples, result. What cannot be read
is left out and noted.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dodam import files
from dodam.errors import FolderError
from dodam.tracking.follow import flat, is_number, json_lines, without_password

APART = ("format", "out", "track")
"""Settings that say where a run is and who looks on."""

CHOSEN = ("context", "depth", "batch", "steps", "seconds", "max_tokens", "compiled", "optim")
"""What was chosen for a run when it began, as far as people want to know."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """A run. `letter` stands for it on a page."""

    letter: str
    name: str
    stage: str
    settings: dict[str, Any]
    """Flat: `lora.rank`, `chosen.batch`."""
    machine: dict[str, Any]
    rows: list[dict[str, Any]]
    result: dict[str, Any] | None
    """None of a run that has not finished."""
    rates: dict[str, float]
    """The highest learning rate of each kind of parameter."""
    alarms: list[str]
    samples: list[tuple[str, str]]
    """Headings and texts, the first and the last."""
    changed: float | None
    """When the last row was written, in seconds since 1970."""
    notes: list[str]
    """What could not be read."""

    @property
    def unit(self) -> str:
        """Of what was measured on held-back text; known when the run has finished."""
        return str((self.result or {}).get("unit", ""))

    @property
    def rate(self) -> float | None:
        """The highest learning rate of what learns most: the adapter, or the matrices inside the blocks."""
        return self.rates.get("lora" if self.settings.get("lora.rank") else "matrix")


def run_folders(path: Path) -> list[Path]:
    """The folder itself, or the run folders of a recipe's stages in it, in the order they were begun.

    FolderError when it is neither."""
    if is_run(path):
        return [path]
    found = [folder for folder in path.iterdir() if is_run(folder)] if path.is_dir() else []
    if not found:
        mend = "Name a folder that a training stage has written, or that of a recipe."
        raise FolderError("is no run folder", where=str(path), mend=mend)
    return sorted(found, key=lambda folder: ((folder / "config.json").stat().st_mtime, folder.name))


def is_run(path: Path) -> bool:
    """Whether a training stage has begun to write here."""
    return (path / "config.json").is_file() and not (path / "config.json").is_symlink() and not is_model(path)


def is_model(path: Path) -> bool:
    """A model folder has a config.json too."""
    return (path / "dodam.json").is_file() or (path / "tokenizer.json").is_file()


def read_record(path: Path, letter: str) -> Record:
    """Read what there is."""
    notes: list[str] = []
    config = read_lenient(path / "config.json", notes)
    rows, torn = json_lines(path / "metrics.jsonl")
    if torn:
        notes.append(f"metrics.jsonl: {torn} torn")
    begun = state_of(path, notes)
    choices = part(begun, "choices")
    result = read_lenient(path / "result.json", notes) or None
    stage_json = read_lenient(path / "stage.json", notes)
    chosen = {key: choices[key] for key in CHOSEN if key in choices}
    told = (result or {}).get("alarms") or part(begun, "ledger").get("alarms") or []
    peak = {"peak_bytes": stage_json["peak_bytes"]} if stage_json.get("peak_bytes") else {}
    return Record(
        letter=letter,
        name=without_password(str(path)),
        stage=str(config.get("stage", "?")),
        settings=flat({**{key: config[key] for key in config if key not in APART}, "chosen": chosen}),
        machine=flat({**part(choices, "machine"), **part(begun, "versions")}),
        rows=[row for row in rows if isinstance(row.get("step"), int)],
        result={**result, **peak} if result else None,
        rates={key: value for key, value in part(choices, "optim").items() if is_number(value)},
        alarms=alarms_of(told),
        samples=read_samples(path / "samples.md"),
        changed=(path / "metrics.jsonl").stat().st_mtime if (path / "metrics.jsonl").is_file() else None,
        notes=notes,
    )


def part(whole: dict[str, Any], key: str) -> dict[str, Any]:
    """The object under a key; {} where there is none."""
    found = whole.get(key)
    return found if isinstance(found, dict) else {}


def alarms_of(told: Any) -> list[str]:
    """Alarms as texts: stages tell them as a list, or by their kind."""
    if isinstance(told, dict):
        return [f"{kind}: {about}" for kind, about in told.items()]
    return [str(one) for one in told] if isinstance(told, list) else []


def state_of(path: Path, notes: list[str]) -> dict[str, Any]:
    """What the run was begun with: out of its model, or out of its newest whole checkpoint."""
    model = read_lenient(path / "model" / "dodam.json", notes)
    if model:
        return model
    for state in sorted(path.glob("checkpoint/step-*/state.json"), reverse=True):
        if found := read_lenient(state, []):
            return found
    return {}


def read_lenient(path: Path, notes: list[str]) -> dict[str, Any]:
    """A JSON object; {} where there is none, which is noted if it is torn."""
    if not path.is_file():
        return {}
    try:
        return files.read_json(path)
    except FolderError as error:
        notes.append(f"{path.name}: {error.what}")
        return {}


def read_samples(path: Path) -> list[tuple[str, str]]:
    """The first and the last part of samples.md, each with its heading."""
    try:
        text = path.read_bytes().decode("utf-8", errors="replace")
    except OSError:
        return []
    parts = list(parts_of(text))
    return [parts[0], parts[-1]] if len(parts) > 1 else parts


def parts_of(text: str) -> Iterator[tuple[str, str]]:
    headings = list(re.finditer(r"^## (Step \d+.*)$", text, re.MULTILINE))
    ends = [heading.start() for heading in headings[1:]] + [len(text)]
    for heading, end in zip(headings, ends, strict=True):
        yield heading[1], text[heading.end() : end].strip()
