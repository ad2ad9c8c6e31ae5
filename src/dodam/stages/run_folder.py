"""A training run's folder: begun, gone on with or found to be done; what was chosen when it began, its data's digest.

In come a stage's config and what is on the disk; out comes the result of a finished run, the choices of one that goes
on, or an error where it would become another run.
"""

import shutil
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dodam import config as configs
from dodam import files, ranks
from dodam.errors import FolderError, UsageError
from dodam.stages.parallel import ONE, meet, refuse_unshared
from dodam.stages.parts import check_lora
from dodam.tracking.trackers import check_trackers

if TYPE_CHECKING:
    from dodam.stages.training import Training

MAY_CHANGE = {  # while a run goes on
    "out", "track", "parallel", "threads", "keep", "stop_after", "checkpoint_seconds", "microbatch", "recompute",
}  # fmt: skip


def open_run(config: "Training", stage: str) -> dict[str, Any] | None:
    """Begin or continue a run folder. Returns the result of a run that is already finished, else None.

    UsageError when the folder holds what a run with other settings has learned, for an adapter without a rank, for a
    tracker that is not installed, and where ranks were started with other settings each. Who looks on may change while
    a run goes on, and so may the number of ranks."""
    refuse_unshared(config.parallel, config.UNSHARED)
    check_lora(config.lora)
    check_trackers(config.track)
    if ranks.world() > 1:
        meet(config)
        from dodam.train import distributed

        return distributed.first(lambda: open_folder(config, stage))
    if replace(config.parallel, timeout=ONE.timeout) != ONE:
        told = "this is one process, which holds all of the model, so --parallel changes nothing; torchrun starts ranks"
        print(f"{stage}: {told}.", file=sys.stderr)
    return open_folder(config, stage)


def open_folder(config: "Training", stage: str) -> dict[str, Any] | None:
    """What `open_run` does on the disk."""
    from dodam.tensors import has_model_tensors

    resolved = {"format": 1, "stage": stage, **configs.to_json(config)}
    saved_file = config.out / "config.json"
    if saved_file.is_file():
        saved = {**plain_defaults(config), **files.read_json(saved_file)}
        keys = (resolved.keys() | saved.keys()) - MAY_CHANGE
        differing = sorted(key for key in keys if resolved.get(key) != saved.get(key))
        if differing and has_learned(config.out):
            raise UsageError(
                f"this run folder was begun with other settings ({', '.join(differing)})",
                where=str(config.out),
                mend="Use another --out, or delete the folder.",
            )
        if differing:
            shutil.rmtree(config.out / "checkpoint", ignore_errors=True)  # weights as they were drawn
        if (config.out / "result.json").is_file() and has_model_tensors(config.out / "model"):
            print(f"{stage}: {config.out} is already done.", file=sys.stderr)
            return files.read_json(config.out / "result.json")
    elif config.out.exists() and any(config.out.iterdir()):
        raise UsageError(
            "this folder holds something that is not a training run", where=str(config.out), mend="Use another --out."
        )
    files.write_json(saved_file, resolved)
    return None


def has_learned(out: Path) -> bool:
    """Whether a run has come further than its first step, which may have failed for its very settings."""
    from dodam.train import checkpoint

    folder, metrics = out / "checkpoint", out / "metrics.jsonl"
    drawn = checkpoint.place(folder, checkpoint.LATEST, 0)
    begun = any(path != drawn for path in checkpoint.checkpoints(folder))
    return begun or (out / "model").exists() or (metrics.exists() and metrics.stat().st_size > 0)


def plain_defaults(config: "Training") -> dict[str, Any]:
    """What the flags are that a run says nothing of, because it was begun by a Dodam that did not have them yet."""
    return {
        field.name: field.default for field in fields(config) if isinstance(field.default, bool | int | float | None)
    }


def saved_choices(out: Path) -> dict[str, Any]:
    """What was chosen when the run in this folder began; {} before its first checkpoint."""
    from dodam.train import checkpoint, distributed

    def read() -> dict[str, Any]:
        for path in checkpoint.checkpoints(out / "checkpoint"):
            try:
                return files.read_json(path / "state.json")["choices"]
            except (FolderError, KeyError):
                continue  # torn: the loop says so when it looks for a whole checkpoint
        return {}

    return distributed.first(read)


def same_data(config: "Training", choices: dict[str, Any], digest: str) -> None:
    """UsageError when a run that goes on would read other data than it began with, or ranks other data each."""
    from dodam.train import distributed

    distributed.same(digest, lambda _: "what it reads is not what rank 0 reads")
    if choices.get("data", digest) != digest:
        raise UsageError(
            "what it reads has changed since this run began",
            where=str(config.out),
            mend="Put the data back as it was, or begin again with another --out.",
        )
