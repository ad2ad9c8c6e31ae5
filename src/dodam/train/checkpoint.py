"""Training state on disk: written beside the old one, checked, renamed; the last few are kept, and the best weights.

`checkpoint/step-N/` holds tensors.safetensors (weights and optimiser state, by name) and state.json (step, clock,
choices and the checksum of the tensors). Where they were spread over ranks it holds tensors-00000.safetensors and so
on, each rank's pieces (`train/pieces.py`), and state.json a checksum of every file. A torn newest checkpoint is noticed
and the one before it is used. `checkpoint/best-N/` holds the weights alone of the validation that was best so far.
There is no pickle.
"""

import hashlib
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from torch import Tensor

from dodam import files
from dodam.errors import CheckpointError, FolderError
from dodam.tensors import write_tensors
from dodam.train.pieces import Pieces

WHOLE, IN_PIECES = 1, 2  # formats
WHOLE_FILE = "tensors.safetensors"
LATEST, BEST = "step", "best"


def place(folder: Path, kind: str, step: int) -> Path:
    return folder / f"{kind}-{step:08d}"


def write(folder: Path, kind: str, step: int, tensors: dict[str, Tensor], state: dict[str, Any], keep: int) -> None:
    """Write `folder/KIND-N` whole or not at all, then drop all of the kind but the newest `keep`.

    StorageError when the disk is full."""
    with files.new_dir(place(folder, kind, step)) as target:
        write_tensors(tensors, target / WHOLE_FILE)
        checksum = file_hash(target / WHOLE_FILE)
        files.write_json(target / "state.json", {"format": WHOLE, "step": step, "checksum": checksum, **state})
    drop(folder, kind, keep)


def write_file(path: Path, pieces: dict[str, Tensor], places: dict[str, str]) -> str:
    """Write one rank's pieces; the checksum of the file, which is on the disk then. StorageError when that is full."""
    with files.storage(path):
        write_tensors(pieces, path, places)
        with path.open("rb+") as file:
            os.fsync(file.fileno())
    return file_hash(path)


def describe(target: Path, step: int, state: dict[str, Any], checksums: dict[str, str]) -> None:
    """Write, last, what makes a folder of pieces a checkpoint."""
    files.write_json(target / "state.json", {"format": IN_PIECES, "step": step, "files": checksums, **state})


def drop(folder: Path, kind: str, keep: int) -> None:
    """Remove all of a kind but the newest `keep`, and what killed processes left half written."""
    for left in folder.glob(f".{kind}-*.tmp"):
        files.remove_stale(folder / left.name[1:].partition(".")[0])
    for old in checkpoints(folder, kind)[keep:]:
        shutil.rmtree(old, ignore_errors=True)


def newest(folder: Path) -> dict[str, Any] | None:
    """The state of the newest whole checkpoint, or None when there is none.

    CheckpointError when there are some and all are torn, FolderError when a newer Dodam wrote them."""
    found = checkpoints(folder)
    for path in found:
        harm = torn(path)
        if not harm:
            return files.read_json(path / "state.json")
        print(f"{path}: this checkpoint is torn ({harm}); looking at the one before.", file=sys.stderr)
    if found:
        raise CheckpointError(
            "every checkpoint here is torn", where=str(folder), mend="Delete the run folder and start again."
        )
    return None


def best_is_whole(folder: Path, step: int) -> bool:
    """Whether the weights of the best validation, which was after `step`, can be read; else standard error is told."""
    path = place(folder, BEST, step)
    if harm := torn(path):
        print(f"{path}: the best weights are torn ({harm}); those of the last step are taken.", file=sys.stderr)
    return not harm


def pieces(path: Path, prefix: str = "") -> Pieces:
    """The tensors of a whole checkpoint whose names begin so, to be read in part."""
    return Pieces([path / name for name in checksums_of(files.read_json(path / "state.json"))], prefix)


def checksums_of(state: dict[str, Any]) -> dict[str, Any]:
    """By the name of each file of tensors."""
    return state["files"] if state["format"] == IN_PIECES else {WHOLE_FILE: state.get("checksum")}


def torn(path: Path) -> str:
    """What keeps a checkpoint from being whole; empty for a whole one. FolderError when it is of a newer format."""
    try:
        state = files.read_json(path / "state.json")
    except FolderError as error:
        return str(error)
    files.check_format(state.get("format"), IN_PIECES, path / "state.json")
    try:
        differing = [name for name, told in checksums_of(state).items() if file_hash(path / name) != told]
    except (OSError, KeyError) as error:
        return str(error)
    return f"the checksum of {', '.join(differing)} differs" if differing else ""


def check(tensors: Pieces, wanted: dict[str, list[int]], where: Path) -> None:
    """CheckpointError when saved tensors are not of the names and shapes that are wanted, or not all there."""
    if tensors.shapes != wanted or tensors.missing():
        raise CheckpointError(
            "the checkpoint belongs to a model of another shape",
            where=str(where),
            mend="Use another --out, or delete this run folder.",
        )


def checkpoints(folder: Path, kind: str = LATEST) -> list[Path]:
    """Newest first."""
    return sorted((path for path in folder.glob(f"{kind}-*") if path.name[5:].isdigit()), reverse=True)


def file_hash(path: Path) -> str:
    """BLAKE2 of a file, fast enough to be done at every save (about 0.7 GB/s)."""
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()
