"""What writes checkpoints beside the training: a copy of the tensors, and one thread that brings it to the disk.

In come tensors and a state; out comes a folder of `train/checkpoint.py`, whole or not at all, while the next steps are
already computed. One is under way at a time: the next waits for it. What goes wrong is raised where somebody waits.
"""

import copy
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import Tensor

from dodam import ranks
from dodam.train import checkpoint, distributed


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
        began = time.perf_counter()
        whole = distributed.gathered(tensors)
        if ranks.rank():
            return
        copies, state = {name: copied(one) for name, one in whole.items()}, copy.deepcopy(state)
        self.start(lambda: checkpoint.write(self.folder, kind, step, copies, state, keep), began)

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


def copied(tensor: Tensor) -> Tensor:
    """A tensor of its own in main memory."""
    return tensor.detach().to("cpu", copy=True).contiguous()
