"""The state of a run: what a checkpoint holds, how it is written and read back, and which weights were the best.

In come a model, its optimisers and a stage's ledger; out comes a folder of checkpoints from which a run goes on as if
it had never stopped. They are written beside the training (`train/writer.py`). Of many ranks the first says which is
read, and each reads what it needs of it.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import nn

from dodam.data.batch import Batch
from dodam.errors import DodamError
from dodam.train import checkpoint, distributed
from dodam.train.clock import Clock, Plan
from dodam.train.optim import Optimizers
from dodam.train.pieces import Pieces
from dodam.train.writer import Writer

WEIGHTS = "model."  # how the names of weights begin in a checkpoint


def saved_weights(folder: Path, last: int, best: int | None) -> Pieces:
    """The weights a finished run ended with: those of its best validation where they were kept, else of its last step,
    each read when it is asked for."""
    kind, step = (checkpoint.LATEST, last) if best is None or best == last else (checkpoint.BEST, best)
    return checkpoint.pieces(checkpoint.place(folder / "checkpoint", kind, step), WEIGHTS)


class Ledger(Protocol):
    """What a stage keeps beside weights while it trains. `tell` gives numbers for a row of metrics, of the steps since
    the last one; `state`, JSON values, goes into every checkpoint, and `restore` gets it back."""

    def tell(self) -> dict[str, float]: ...
    def state(self) -> dict[str, Any]: ...
    def restore(self, state: dict[str, Any]) -> None: ...


class Run:
    """What a checkpoint holds: weights that are trained, optimiser state, step, clock, choices, a stage's ledger."""

    def __init__(
        self,
        model: nn.Module,
        optimizers: Optimizers,
        folder: Path,
        choices: dict[str, Any],
        ledger: Ledger | None = None,
    ) -> None:
        self.model, self.choices, self.ledger = model, choices, ledger
        trained = {f"{WEIGHTS}{name}": one for name, one in model.named_parameters() if one.requires_grad}
        self.tensors: dict[str, torch.Tensor] = {**trained, **optimizers.state()}
        self.folder = folder / "checkpoint"
        self.step, self.tokens, self.loss = 0, 0, math.nan
        self.validation: float | None = None
        self.best: float | None = None
        self.best_step: int | None = None
        self.writer = Writer(self.folder)
        self.clock = Clock()

    def save(self, plan: Plan) -> None:
        """Begin to write a checkpoint, see `Writer.write`; `writer.wait` returns when it is on the disk."""
        state = {
            "tokens": self.tokens,
            "seconds": self.clock.seconds(),
            "loss": None if math.isnan(self.loss) else self.loss,
            "validation": self.validation,
            "validated": plan.validated,
            "aside": plan.aside,
            "best": self.best,
            "best_step": self.best_step,
            "choices": self.choices,
        }
        if self.ledger:
            state["ledger"] = self.ledger.state()
        self.writer.write(checkpoint.LATEST, self.step, self.tensors, state, plan.config.keep)

    def keep_best(self, wanted: Literal["lowest", "highest"] | None) -> None:
        """Keep these weights if the validation just made is the best so far."""
        if wanted is None or self.validation is None:
            return
        sign = 1 if wanted == "lowest" else -1
        if self.best is None or sign * self.validation < sign * self.best:
            self.best, self.best_step = self.validation, self.step
            self.writer.write(checkpoint.BEST, self.step, self.weights(), {}, 2)  # a run may go on from the one before

    def take_best(self) -> bool:
        """Go to the weights of the best validation, if they are kept and other than the last."""
        if self.best_step in (None, self.step):
            return False
        step = self.best_step or 0
        if not distributed.first(lambda: checkpoint.best_is_whole(self.folder, step)):
            self.best_step = self.step
            return False
        checkpoint.pieces(checkpoint.place(self.folder, checkpoint.BEST, step)).read_into(self.weights())
        return True

    def weights(self) -> dict[str, torch.Tensor]:
        """What is trained, without the optimisers' state."""
        return {name: one for name, one in self.tensors.items() if name.startswith(WEIGHTS)}

    def resume(self) -> dict[str, Any]:
        """Go back to the newest checkpoint, if there is one; what it tells of the run's plan."""
        shapes = distributed.shapes(self.tensors)

        def find() -> dict[str, Any] | None:
            state = checkpoint.newest(self.folder)
            if state is not None:
                path = checkpoint.place(self.folder, checkpoint.LATEST, state["step"])
                checkpoint.check(checkpoint.pieces(path), shapes, self.folder)
            return state

        state = distributed.first(find)
        if state is None:
            return {}
        path = checkpoint.place(self.folder, checkpoint.LATEST, state["step"])
        checkpoint.pieces(path).read_into(self.tensors)
        self.step, self.tokens = state["step"], state["tokens"]
        self.loss = math.nan if state["loss"] is None else state["loss"]
        self.validation = state["validation"]
        self.best, self.best_step = state.get("best"), state.get("best_step")
        self.clock = Clock(used=state["seconds"])
        if self.ledger:
            self.ledger.restore(state["ledger"])
        return {key: state[key] for key in ("validated", "aside") if key in state}

    def next_batches(self, batches: Callable[[int], Sequence[Batch]], plan: Plan, *, between: bool) -> Sequence[Batch]:
        """The microbatches of the step. Where there are none to be had, the run is saved first, if it may be here."""
        try:
            return batches(self.step)
        except DodamError:
            if between:
                self.save(plan)
                self.writer.wait()
            raise

    def measured(self, validate: Callable[[Any], float | dict[str, float]] | None, plan: Plan) -> dict[str, Any]:
        """What the validation finds, as a row of metrics; one without it where there is nothing to validate on."""
        found = {} if validate is None else validate(self.model)
        numbers = found if isinstance(found, dict) else {"validation": found}
        self.validation = numbers.get("validation")
        return {
            "step": self.step,
            **numbers,
            "seconds": self.clock.seconds(),
            "progress": plan.progress(self.step),
        }

    def row(self, plan: Plan, scale: float, norm: float) -> dict[str, Any]:
        return {
            "step": self.step,
            "loss": self.loss,
            "tokens": self.tokens,
            "tokens_per_second": self.tokens / max(self.clock.seconds(), 1e-9),
            "step_seconds": plan.usual(),
            "learning_rate_scale": scale,
            "gradient_norm": norm,
            "seconds": self.clock.seconds(),
            "progress": plan.progress(self.step),
            "remaining": plan.remaining(self.step),
        }
