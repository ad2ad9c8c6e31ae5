"""Command `grow`: from one's own text to a model to talk to, in a given time.

In: text, perhaps conversations, a budget. Out: a run folder with the recipe that was written for them, kept to read,
edit and repeat, and everything that recipe made.
"""

import json
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from annotated_types import MinLen

from dodam import CallableModule
from dodam.config import Duration, from_file, seconds
from dodam.data.sources import HUB, SAMPLE, files_of
from dodam.errors import UsageError
from dodam.files import write_atomic
from dodam.runner import Run
from dodam.runner import run as run_recipe
from dodam.tokenizer.train import BY_BYTES

sys.modules[__name__].__class__ = CallableModule

SHARES = {"pretrain": 0.75, "sft": 0.15}
"""Of the budget, with conversations; without them pretraining gets both. What is left is for reading, cutting into
tokens, measuring and starting programs."""

LEAST = 25.0
"""Seconds a training stage needs at least: to start, to train a little, to write the model."""

SAMPLE_BYTES = 12_000_000
BY_TIME = ((15 * 60, 4096), (3 * 3600, 8192), (24 * 3600, 16_384), (float("inf"), 32_768))
"""The largest vocabulary that a budget in seconds bears: the head of a small model costs as much as its blocks."""

PACKED = {".gz": 3, ".zst": 3, ".parquet": 3}
"""About how many times larger than the file the text in it is."""

RECIPE = """\
# Written by `dodam grow`. Read it, change it, run it again:
#   dodam run {path}
# Only the stages that changed are redone, with everything that reads from them.

title = {title}
out = {out}
seed = {seed}

[[stage]]                       # {size} of text: cleaned, freed of duplicates, 1% held back for measuring
kind = "prepare"
data = {text}
{reading}
[[stage]]                       # a vocabulary of the size that suits so much text and time
kind = "tokenizer train"
data = "@prepare"
vocabulary = {vocabulary}

[[stage]]                       # the size of the model is chosen for this machine and this time
kind = "pretrain"
data = "@prepare"
tokenizer = "@tokenizer"
budget = "{pretrain}"
"""

SFT = """
[[stage]]                       # learns to answer, from the conversations
kind = "sft"
data = {chat}
{reading}model = "@pretrain"
replay = "@prepare"             # text is read along, so that nothing is forgotten
replay_share = 0.25
budget = "{sft}"
"""

EVALUATE = """
[[stage]]                       # bits per byte on the text held back, per source
kind = "evaluate"
model = {models}
task = ["bits-per-byte"]
data = "@prepare"
"""


@dataclass(frozen=True, kw_only=True)
class Grow:
    """From your own text to a model, in the time you give it.

    Writes a recipe for your files, keeps it in the run folder, and runs it. Stopped and started again it goes on.
    """

    positional: ClassVar[tuple[str, ...]] = ("text",)

    text: Annotated[tuple[str, ...], MinLen(1)]
    """Your text: files, folders or globs (text, Markdown, JSONL, CSV, Parquet, also gzip or zstd)."""
    chat: tuple[str, ...] = ()
    """Conversations or question-answer pairs to learn answering from; without them the model continues text."""
    budget: Duration = "1h"
    """Time for everything together, such as 30m, 2h or 1d."""
    name: str = ""
    """What the assistant calls itself, and the name of the run. Default for the run: the name of the first text."""
    out: Path | None = None
    """Where to write; without it `runs/` and the name."""
    seed: int = 1
    """The seed of everything that is random."""
    encoding: str = "auto"
    """The encoding of text files that are not UTF-8, such as cp949; `auto` finds it out."""
    skip_bad: bool = False
    """Leave out rows and files that cannot be read, and count them, instead of stopping at the first."""
    dry_run: bool = False
    """Write nothing; print the recipe."""


def run(config: Grow) -> dict:
    """Write the recipe and run it; returns what `run` returns and the path of the recipe."""
    out = config.out or Path("runs") / (config.name or Path(config.text[0].rstrip("/*")).name.split(".")[0] or "model")
    path = out / "recipe.toml"
    recipe = write_recipe(config, out)
    print(recipe)
    if config.dry_run:
        return {"out": str(out), "recipe": recipe}
    check_chat(config)
    _keep(path, recipe)
    return {**run_recipe(Run(recipe=path)), "recipe": str(path)}


def write_recipe(config: Grow, out: Path) -> str:
    """The recipe for these files and this time, as TOML. Raises `DataError` for a file that is not there."""
    size = sum(num_bytes(path) for path in config.text)
    for path in config.chat:
        num_bytes(path)
    blocks = [RECIPE, SFT, EVALUATE] if config.chat else [RECIPE, EVALUATE]
    if config.chat and config.name:
        blocks[1] += "flags.name = {name}        # what the assistant calls itself\n"
    return "".join(blocks).format(
        path=out / "recipe.toml",
        title=toml(f"{config.name or out.name}, grown in {config.budget}"),
        out=toml(str(out)),
        seed=config.seed,
        size=f"{size / 1e6:.1f} MB",
        text=toml([*config.text]),
        reading=reading(config),
        vocabulary=min(
            next(vocabulary for limit, vocabulary in BY_BYTES if size < limit),
            next(vocabulary for limit, vocabulary in BY_TIME if seconds(config.budget) <= limit),
        ),
        chat=toml([*config.chat]),
        name=toml(config.name),
        models=toml(["base=@pretrain", "tuned=@sft"] if config.chat else ["model=@pretrain"]),
        **{stage: duration(length) for stage, length in shared(seconds(config.budget), bool(config.chat)).items()},
    )


def reading(config: Grow) -> str:
    """How the stages that read the user's files read them, where it is not as usual."""
    encoding = f"encoding = {toml(config.encoding)}\n" if config.encoding != Grow.encoding else ""
    return encoding + ("skip_bad = true\n" if config.skip_bad else "")


def check_chat(config: Grow) -> None:
    """Read the conversations once, so that a bad line is found now and not after hours of pretraining."""
    from dodam.data.conversation import read_conversations

    for _ in read_conversations(config.chat, encoding=config.encoding, skip_bad=config.skip_bad) if config.chat else ():
        pass


def shared(total: float, chat: bool) -> dict[str, float]:
    """Seconds for each training stage. Raises `UsageError` when that is too little to train in."""
    training = total * sum(SHARES.values())
    sft = max(total * SHARES["sft"], LEAST) if chat else 0.0
    if training - sft < LEAST:
        raise UsageError(
            f"{duration(total)} is too short to grow anything in", where="--budget", mend="Try 1m or more."
        )
    return {"pretrain": training - sft, **({"sft": sft} if chat else {})}


def num_bytes(path: str) -> int:
    """About how many bytes of text a source holds. Raises `DataError` where there is none."""
    if path.startswith(SAMPLE):
        return SAMPLE_BYTES
    if path.startswith(HUB):
        mend = "Download it and name its folder, or write a recipe with `dodam prepare` in it."
        raise UsageError("how large a dataset of the hub is, nobody knows before it is read", where=path, mend=mend)
    return sum(Path(file).stat().st_size * PACKED.get(Path(file).suffix, 1) for file in files_of(path))


def toml(value: str | list[str]) -> str:
    """Text or a list of texts as TOML, which writes both like JSON."""
    return json.dumps(value, ensure_ascii=False)


def duration(length: float) -> str:
    """`45m` or `100s`."""
    whole = max(1, round(length))
    return f"{whole}s" if whole % 60 else f"{whole // 60}m"


def _keep(path: Path, recipe: str) -> None:
    """Write the recipe, unless a different one stands there with which training has begun: its models cost hours."""
    if path.exists() and from_file(path) == tomllib.loads(recipe):
        return
    begun = [path.parent / stage / kept for stage in SHARES for kept in ("stage.json", "checkpoint")]
    if path.exists() and any(place.exists() for place in begun):
        mend = f"Run that one with `dodam run {path}`, or choose another --out or --name."
        raise UsageError("a recipe with other settings is here already", where=str(path), mend=mend)
    write_atomic(path, recipe)
