"""What writes checkpoints beside the training: a copy of the tensors, and one thread that brings it to the disk.

In come tensors and a state; out comes a folder of `train/checkpoint.py`, whole or not at all, while the next steps are
already computed. One is under way at a time: the next waits for it. What goes wrong is raised where somebody waits.
Where tensors are spread over ranks each of them writes its pieces, and rank 0, which hears of all, the rest.
"""

import copy
import json
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import Tensor

from dodam import files, ranks
from dodam.errors import DodamError, StorageError
from dodam.train import checkpoint, distributed
from dodam.train.pieces import copied, own_pieces


class Writer:
    """Begins to write within `with`, whose end waits for what is under way. An error of that is told there where
    another one passes, and else left for `wait`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.longest = 0.0  # seconds that the longest took, from the copy until it was on the disk
        self.thread: threading.Thread | None = None
        self.error: BaseException | None = None

    def write(self, kind: str, step: int, tensors: dict[str, Tensor], state: dict[str, Any], keep: int) -> None:
        """Copy tensors and state and begin to write them, when what is under way is on the disk. All ranks call it, and
        rank 0 writes for all. StorageError when the one before could not be written."""
        self.wait()
        began, state = time.perf_counter(), copy.deepcopy(state)
        if any(distributed.is_sharded(one) for one in tensors.values()):
            self.write_pieces(kind, step, tensors, state, keep, began)
            return
        whole = distributed.gathered(tensors)
        if not ranks.rank():
            copies = {name: copied(one) for name, one in whole.items()}
            self.start(lambda: checkpoint.write(self.folder, kind, step, copies, state, keep), began)

    def write_pieces(
        self, kind: str, step: int, tensors: dict[str, Tensor], state: dict[str, Any], keep: int, began: float
    ) -> None:
        """`write` where every rank holds parts of the tensors."""
        draft = ExitStack()  # rank 0's: what is entered is left, for better or worse, by its thread

        def begin() -> str:
            return str(draft.enter_context(files.new_dir(checkpoint.place(self.folder, kind, step))))

        target = Path(distributed.first(begin))
        rank, tell = ranks.rank(), distributed.teller()  # asked here, as the thread is beside what ranks do alone
        pieces, places = own_pieces(tensors)

        def work() -> None:
            with draft:
                told = [json.loads(word) for word in tell(write_piece(target, rank, pieces, places))]
                if rank:
                    return
                for one in told:
                    if "what" in one:
                        raise StorageError(one["what"], where=one["where"], mend=one["mend"])
                checkpoint.describe(target, step, state, {one["file"]: one["checksum"] for one in told})
            checkpoint.drop(self.folder, kind, keep)

        self.start(work, began)

    def start(self, work: Callable[[], None], began: float) -> None:
        """Do some work in the thread."""

        def run() -> None:
            try:
                work()
            except BaseException as error:
                self.error = error
            else:
                self.longest = max(self.longest, time.perf_counter() - began)

        self.thread = threading.Thread(target=run, name="checkpoint", daemon=True)
        self.thread.start()

    @property
    def failed(self) -> bool:
        """Whether what was under way came to an error, which is raised by `wait`."""
        return self.error is not None

    def wait(self) -> None:
        """Return when all is on the disk; raise on all ranks what kept it from there."""
        distributed.first(self.joined)
        self.join()

    def joined(self) -> None:
        """`wait`, for this rank alone."""
        self.join()
        if self.error is not None:
            error, self.error = self.error, None
            raise error

    def join(self) -> None:
        if self.thread is not None:
            self.thread.join()
            self.thread = None

    def __enter__(self) -> "Writer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, RuntimeError) and ranks.world() > 1 and distributed.is_loss(error):
            return  # a rank is gone, for which nobody may wait
        self.join()
        if error is not None and self.error is not None:
            print(f"{self.folder}: the checkpoint under way was not written: {self.error}", file=sys.stderr)


def write_piece(target: Path, rank: int, pieces: dict[str, Tensor], places: dict[str, str]) -> str:
    """Write a rank's file. What rank 0 has to know of it, as JSON: its name and checksum, or what went wrong."""
    path = target / f"tensors-{rank:05d}.safetensors"
    try:
        return json.dumps({"file": path.name, "checksum": checkpoint.write_file(path, pieces, places)})
    except DodamError as error:
        return json.dumps({"what": error.what, "where": error.where, "mend": error.mend})
    except Exception as error:
        return json.dumps({"what": f"rank {rank} failed: {error}", "where": str(path), "mend": ""})
