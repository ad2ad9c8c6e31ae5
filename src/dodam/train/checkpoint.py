"""Training state on disk: written beside the old one, checked, renamed; the last few are kept, and the best weights.

`checkpoint/step-N/` holds tensors.safetensors (weights and optimiser state, by name) and state.json (step, clock,
choices and the checksum of the tensors). A torn newest checkpoint is noticed and the one before it is used.
`checkpoint/best-N/` holds the weights alone of the validation that was best so far. There is no pickle.
"""

import hashlib
import shutil
import sys
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from dodam import files
from dodam.errors import CheckpointError, FolderError
from dodam.tensors import write_tensors

FORMAT = 1
LATEST, BEST = "step", "best"


def write(folder: Path, kind: str, step: int, tensors: dict[str, Tensor], state: dict[str, Any], keep: int) -> None:
    """Write `folder/KIND-N` whole or not at all, then drop all of the kind but the newest `keep`.

    StorageError when the disk is full."""
    with files.new_dir(folder / f"{kind}-{step:08d}") as target:
        write_tensors(
            {name: tensor.detach().contiguous() for name, tensor in tensors.items()}, target / "tensors.safetensors"
        )
        checksum = file_hash(target / "tensors.safetensors")
        files.write_json(target / "state.json", {"format": FORMAT, "step": step, "checksum": checksum, **state})
    for old in checkpoints(folder, kind)[keep:]:
        shutil.rmtree(old, ignore_errors=True)


def load(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The newest whole checkpoint, or None when there is none.

    CheckpointError when there are some and all are torn, FolderError when a newer Dodam wrote them."""
    found = checkpoints(folder)
    for path in found:
        harm = torn(path)
        if not harm:
            return load_file(path / "tensors.safetensors"), files.read_json(path / "state.json")
        print(f"{path}: this checkpoint is torn ({harm}); looking at the one before.", file=sys.stderr)
    if found:
        raise CheckpointError(
            "every checkpoint here is torn", where=str(folder), mend="Delete the run folder and start again."
        )
    return None


def load_best(folder: Path, step: int) -> dict[str, Tensor] | None:
    """The weights of the best validation, which was after `step`; None, said on standard error, when they are torn."""
    path = folder / f"{BEST}-{step:08d}"
    if harm := torn(path):
        print(f"{path}: the best weights are torn ({harm}); those of the last step are taken.", file=sys.stderr)
        return None
    return load_file(path / "tensors.safetensors")


def torn(path: Path) -> str:
    """What keeps a checkpoint from being whole; empty for a whole one. FolderError when it is of a newer format."""
    try:
        state = files.read_json(path / "state.json")
    except FolderError as error:
        return str(error)
    files.check_format(state.get("format"), FORMAT, path / "state.json")
    try:
        same = file_hash(path / "tensors.safetensors") == state.get("checksum")
    except OSError as error:
        return str(error)
    return "" if same else "its checksum differs"


def check(tensors: dict[str, Tensor], wanted: dict[str, list[int]], where: Path) -> None:
    """CheckpointError when saved tensors are not of the names and shapes that are wanted."""
    if {name: list(one.shape) for name, one in tensors.items()} != wanted:
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
