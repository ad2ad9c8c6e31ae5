"""A recipe: the stages of a model's life as a TOML list. In: the file, `--set` overrides, the folder to write to.
Out: a list of stages whose configs are checked, each with what it depends on.

A stage is a command (`kind`), a `name` and that command's flags; a flag that is itself called `name` is written
`flags.name`. `"@NAME"` in a value stands for the folder of an earlier stage. Every stage writes to `OUT/NAME`.
`runner.py` runs them.
"""

import dataclasses
import functools
import glob
import hashlib
import json
import os
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Gt, MinLen

from dodam.cli import COMMANDS, load
from dodam.config import build, fingerprint, from_file, nearest, to_json
from dodam.data.sources import HUB, SAMPLE
from dodam.errors import UsageError
from dodam.feedback.store import is_store, is_url, open_store
from dodam.stages.parallel import ONE, Parallel, check_together, refuse_unshared

REFERENCE = re.compile(r"(?:(?<=[=*])|^)@([\w-]+)")
"""`@pretrain`, `@prepare/documents`, `base=@pretrain` where a label goes before a path, `0.2*@reward` with a weight."""

RESERVED = ("model", "report", "parallel")
PATHS = ("data", "dev", "sts", "labels", "replay", "model", "tokenizer")
"""The flags that name what a stage reads."""

KNOBS = (
    "checkpoint_seconds", "keep", "stop_after", "microbatch", "recompute", "parallel", "threads", "device", "track",
)  # fmt: skip
"""The flags that say how a stage is computed or watched, not what: a finished stage is not redone for them."""

TOP = ("title", "out", "seed")
SMALL = 1 << 20
"""Up to this many bytes a file counts as changed when its bytes change, above when its size or its time changes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ranks(Parallel):
    """How stages that train share the work: the flags `--parallel...`, and on how many ranks each is started."""

    ranks: Annotated[int, Gt(0)] = 1
    """Processes on this machine."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecipeFile:
    """What a recipe file may say."""

    stage: Annotated[tuple[dict[str, Any], ...], MinLen(1)]
    """The stages in order."""
    title: str = ""
    """One line, printed when the recipe starts."""
    out: Path | None = None
    """Where the run is written; without it `runs/` and the file's name."""
    seed: int | None = None
    """The seed of every stage that takes one and does not set its own."""
    parallel: Ranks = Ranks()
    """For every stage that trains; a stage's own `parallel` says what is otherwise there."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage, checked and ready to run."""

    name: str
    kind: str
    folder: Path
    config: dict[str, Any]
    """The whole config as JSON, `@NAME` still in it, without `out`."""
    needs: tuple[str, ...]
    """The names of the earlier stages it reads from."""
    ranks: int = 1
    """On how many ranks it is started."""

    def values(self) -> dict[str, Any]:
        """The config as the command takes it: folders in place of references."""
        folders = _mapped(
            self.config, lambda text: REFERENCE.sub(lambda match: str(self.folder.parent / match[1]), text)
        )
        return {**folders, "out": str(self.folder)}

    def fingerprint(self, version: str, upstream: dict[str, str]) -> str:
        """Changes when the config (but for `KNOBS`), an input file, an earlier stage it reads from, or dodam itself
        changes."""
        config = {**self.config, **_default_knobs(self.kind)}
        paths = {text: content_of(text) or content_of(text.partition("=")[2]) for text in leaves(config)}
        if named := _rewards(config):
            from dodam.rl import rewards

            paths |= {"rewards": rewards.fingerprint(named)}
        needs = {name: upstream[name] for name in self.needs}
        return fingerprint({"dodam": version, "kind": self.kind, "config": config, "paths": paths, "needs": needs})


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A recipe with all overrides applied."""

    title: str
    out: Path
    stages: tuple[Stage, ...]


def read(path: Path, overrides: tuple[str, ...] = (), out: Path | None = None) -> Recipe:
    """Read a recipe file and check every stage. Raises `UsageError` naming file, stage and key."""
    top = from_file(path)
    build(RecipeFile, top, str(path))
    stages: dict[str, dict[str, Any]] = {}
    for number, stage in enumerate(top["stage"], start=1):
        name = _name(stage, f"{path}, stage {number}", stages)
        stages[name] = {key: value for key, value in stage.items() if key not in ("name", "flags")}
        stages[name] |= stage.get("flags", {})
    overridden = [_override(text, stages, top) for text in overrides]
    recipe = build(RecipeFile, top, "--set")
    folder = out or recipe.out or Path("runs") / path.stem
    found: list[Stage] = []
    for name, values in stages.items():
        places = {key: f"--set {name}" for stage, key in overridden if stage == name}
        found.append(_stage(name, values, folder, f"{path}, stage `{name}`", places, top, found))
    return Recipe(recipe.title, folder, tuple(found))


def leaves(value: Any) -> Iterator[str]:
    """Every text inside a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from leaves(part)


def content_of(path: str) -> str:
    """A fingerprint of what is behind a path, a glob, a bundled source or the URL of a feedback store; empty if it is
    none of these."""
    if path.startswith(SAMPLE):
        return _sample_code()
    if path.startswith(HUB):  # whether it has changed there, `prepare` asks
        return path
    if is_store(path.partition("#")[0]):  # its file changes when somebody only looks at a prompt
        return _told(path)
    files = [file for name in _matches(path) for file in _files(name)]
    return fingerprint({file: _state(file) for file in files}) if files else ""


def _name(stage: dict[str, Any], where: str, taken: dict[str, Any]) -> str:
    kind = stage.get("kind")
    if not isinstance(kind, str):
        raise UsageError("`kind` is required: the command to run", where=where)
    name = stage.get("name", kind.split(" ")[0])
    if not (isinstance(name, str) and re.fullmatch(r"[\w-]+", name)) or name in RESERVED:
        raise UsageError(f"`name` cannot be {name!r}", where=where, mend="Use letters, digits, - and _.")
    if not isinstance(stage.get("flags", {}), dict):
        raise UsageError("`flags` must be a table, such as `flags.name = ...`", where=where)
    if name in taken:
        raise UsageError(f"a stage before it is called `{name}` too", where=where, mend="Give it a `name` of its own.")
    return name


def _override(text: str, stages: dict[str, dict[str, Any]], top: dict[str, Any]) -> tuple[str, str]:
    """Write `STAGE.KEY=VALUE` into the stages or `KEY=VALUE` into the top of the recipe; returns stage and key."""
    key, equals, value = text.partition("=")
    stage, *path = key.strip().split(".")
    if not equals:
        raise UsageError(f"`{text}` has no value", where="--set", mend="Write --set STAGE.KEY=VALUE.")
    if stage in TOP and not path:
        stage, path, level = "", [stage], top
    elif stage == "parallel" and path:
        level = top.setdefault(stage, {})
    elif path and stage in stages:
        level = stages[stage]
    else:
        what = f"no stage is called `{stage}`" if path else f"`{stage}` is not known"
        raise UsageError(what, where=f"--set {text}", mend=nearest(stage, [*stages, *([] if path else TOP)]))
    for part in path[:-1]:
        level = level.setdefault(part, {})
        if not isinstance(level, dict):
            raise UsageError(f"`{part}` has no parts", where=f"--set {text}")
    level[path[-1]] = _toml_value(value.strip())
    return stage, path[0]


def _toml_value(text: str) -> Any:
    """A value as TOML reads it; text that is no TOML value stands for itself, so quotes can be left out."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError as error:
        if text[:1] in ("[", "{", '"', "'"):
            raise UsageError(f"broken value {text}: {error}", where="--set") from None
        return text


def _stage(
    name: str,
    values: dict[str, Any],
    out: Path,
    where: str,
    places: dict[str, str],
    top: dict[str, Any],
    earlier: list[Stage],
) -> Stage:
    kind = str(values.pop("kind"))
    if kind not in COMMANDS:
        raise UsageError(f"`{kind}` is not a command", where=where, mend=nearest(kind, [*COMMANDS]))
    cls, _ = load(kind)
    fields = {field.name for field in dataclasses.fields(cls)}
    if "out" not in fields or cls.__module__ in ("dodam.runner", "dodam.grow", "dodam.tracking.report"):
        raise UsageError(f"`{kind}` writes no folder, so it cannot be a stage", where=where)
    if "out" in values:
        raise UsageError(f"`out` is set by the recipe: it is {out / name}", where=where, mend="Leave it away.")
    if "seed" in top and "seed" in fields:
        values.setdefault("seed", top["seed"])
    ranks = _share(cls, values, top.get("parallel", {}), where) if "parallel" in fields else 1
    config = to_json(build(cls, {**values, "out": out / name}, where, places))
    del config["out"]
    _check_paths(config, where)
    _check_rewards(config, where)
    names = [stage.name for stage in earlier]
    needs = {match[1]: None for text in leaves(config) for match in REFERENCE.finditer(text)}
    for need in needs:
        if need not in names:
            mend = nearest(need, names) if names else "It is the first stage."
            raise UsageError(f"`@{need}` is no earlier stage", where=where, mend=mend)
    return Stage(name, kind, out / name, config, tuple(needs), ranks)


def _share(cls: Any, values: dict[str, Any], parallel: dict[str, Any], where: str) -> int:
    """Put what the recipe says of ranks into the values of a stage that trains, beneath its own; the number of ranks.
    UsageError for what it cannot share out so."""
    own = values.get("parallel", {})
    if not isinstance(own, dict):
        return 1  # what is wrong with it is told when the stage's config is built
    values["parallel"] = {**parallel, **own}
    shares = build(Ranks, values["parallel"], f"{where}, parallel")
    values["parallel"].pop("ranks", None)
    if shares.ranks > 1:
        _check_share(cls, values, shares, where)
    return shares.ranks


def _check_share(cls: Any, values: dict[str, Any], shares: Ranks, where: str) -> None:
    """UsageError where a stage's ranks cannot share its work, as far as its settings tell."""
    lora, batch = values.get("lora"), values.get("batch")
    try:
        refuse_unshared(shares, cls.UNSHARED)
        check_together(shares, shares.ranks, adapters=isinstance(lora, dict) and bool(lora.get("rank")))
    except UsageError as error:
        name = error.where.removeprefix("--")
        default = to_json(ONE)[name.removeprefix("parallel.")]
        mend = f"Give the stage `{name} = {json.dumps(default)}`, or `parallel.ranks = 1`."
        raise UsageError(error.what, where=f"{where}: {name}", mend=mend) from None
    groups = shares.ranks // (shares.tensor * shares.pipeline * shares.context)
    if isinstance(batch, int) and batch % groups:
        what = f"{groups} {'ranks' if groups == shares.ranks else 'groups of ranks'} do not divide {batch} rows"
        raise UsageError(what, where=f"{where}: batch", mend=f"Give a multiple of {groups}.")


def _default_knobs(kind: str) -> dict[str, Any]:
    knobs = {field.name: field.default for field in dataclasses.fields(load(kind)[0]) if field.name in KNOBS}
    return {name: to_json(one) if dataclasses.is_dataclass(one) else one for name, one in knobs.items()}


def _check_paths(config: dict[str, Any], where: str) -> None:
    """Before anything runs: a path that is missing in the last stage shall not be found out after hours."""
    for key in PATHS:
        value = config.get(key) or []
        for source in value if isinstance(value, list) else [value]:
            path = source["path"] if isinstance(source, dict) else source
            unlabelled = path.partition("=")[2] if key == "model" else ""
            known = path.startswith((SAMPLE, HUB)) or REFERENCE.search(path) or is_url(path)
            if not (known or _matches(path) or _matches(unlabelled)):
                raise UsageError(f"`{key}`: there is no `{path}` here", where=where, mend="Is the path right?")


def _rewards(config: dict[str, Any]) -> list[str]:
    return [*(config.get("reward") or []), *(config.get("judge") or [])]


def _check_rewards(config: dict[str, Any], where: str) -> None:
    """As for paths: a reward that there is not. Those of earlier stages are there when it is their turn."""
    if known := [text for text in _rewards(config) if not REFERENCE.search(text)]:
        from dodam.rl import rewards

        try:
            rewards.check(known)
        except UsageError as error:
            raise UsageError(error.what, where=f"{where}: {error.where}", mend=error.mend) from None


def _matches(path: str) -> list[str]:
    """The path, what the glob matches, both files of line-aligned `a.en:b.de`, or the store of `store.sqlite#edited`;
    empty if there is nothing."""
    path = os.path.expanduser(path)
    if not os.path.exists(path) and (store := path.rpartition("#")[0]) and os.path.exists(store):
        return [store]
    found = [path] if os.path.exists(path) else sorted(glob.glob(path, recursive=True))
    splits = [[path[:place], path[place + 1 :]] for place, sign in enumerate(path) if sign == ":"]
    return found or next((sides for sides in splits if all(map(os.path.exists, sides))), [])


def _told(path: str) -> str:
    """A fingerprint of everything that counts in a feedback store."""
    with open_store(path.partition("#")[0]) as store:
        return fingerprint({"rankings": list(store.rankings()), "demonstrations": list(store.demonstrations())})


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {key: _mapped(part, change) for key, part in value.items()}
    if isinstance(value, list):
        return [_mapped(part, change) for part in value]
    return change(value) if isinstance(value, str) else value


def _files(path: str) -> list[str]:
    if os.path.isdir(path):
        return sorted(os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names)
    return [path] if os.path.isfile(path) else []


def _state(path: str) -> str:
    found = os.stat(path)
    if found.st_size > SMALL:
        return f"{found.st_size} {found.st_mtime_ns}"
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


@functools.cache
def _sample_code() -> str:
    """The bundled corpus is made by code, so its content is known by that code."""
    folder = Path(__file__).parent / "sample"
    return fingerprint({path.name: _state(str(path)) for path in sorted(folder.iterdir()) if path.is_file()})
