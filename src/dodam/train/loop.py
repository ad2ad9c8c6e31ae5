"""The only training loop: accumulate, clip, step, schedule, log, validate, save, resume. It knows no task.

In come a model, its optimisers, a function from step number to microbatches, an objective and hooks; out come the
trained model and a record of the run. Killed at any moment and started again it ends with the same weights (bit for
bit on CPU), because every batch is a function of the step number and everything else is in the checkpoint.

On many ranks each gets the microbatches of its share of the step, and all do the same at the same time; what depends on
a clock or a signal, rank 0 or any of them says (train/distributed.py).
"""

import math
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NoReturn, Protocol

import torch
from torch import nn

from dodam import ranks
from dodam.data.batch import Batch
from dodam.errors import DodamError, Interrupted
from dodam.train import context, distributed, pipeline
from dodam.train.clock import Plan
from dodam.train.objective import Objective
from dodam.train.optim import Optimizers
from dodam.train.schedule import Schedule
from dodam.train.state import Ledger, Run


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How long and how often. `steps`, `seconds` or both bound the run; with both it ends at what comes first.

    With `seconds` the schedule follows the clock, so the run ends on time on a machine that is slower or busier than
    the probe thought."""

    steps: int | None = None
    seconds: float | None = None
    schedule: Schedule = field(default_factory=Schedule)
    clip: float = 1.0
    log_every: int = 10
    validate_every: float = 0.1
    """Share of the run between two validations; with `seconds` fewer are made where they would take the steps' time
    (`clock.ASIDE`)."""
    checkpoint_seconds: float = 30.0
    """Time between two checkpoints."""
    checkpoint_every: int = 1
    """Checkpoints are taken at multiples of so many steps only: where the batches of several steps come out of one
    thing that is made with the weights of the first of them (a rollout), a run goes on from such a first step."""
    keep: int = 2
    """Checkpoints that stay on the disk."""
    best: Literal["lowest", "highest"] | None = None
    """End with the weights whose validation was so; None: with those of the last step."""
    until: float | None = None
    """When this process has to be done, in seconds since 1970: before that the run is saved and stops."""
    seed: int = 0
    """Of dropout."""

    def __post_init__(self) -> None:
        assert self.steps is not None or self.seconds is not None, "a run is bounded by steps or by seconds"


class Hook(Protocol):
    """What looks on while a model trains. `step` gets a metrics row, `validate` one with the validation's result,
    or without it where there is nothing to validate on. `end` is called however the run ends."""

    def start(self, step: int) -> None: ...
    def step(self, row: dict[str, Any]) -> None: ...
    def validate(self, row: dict[str, Any]) -> None: ...
    def end(self) -> None: ...


@dataclass(frozen=True)
class Outcome:
    """What a finished run knows of itself. `loss` is the mean over the last steps that were logged together."""

    steps: int
    tokens: int
    seconds: float
    loss: float
    validation: float | None
    aside: float
    """Seconds between steps: validations, texts, what saving holds up."""
    best: int | None = None
    """After which step the weights were the best, where those were asked for."""


@distributed.reaching_others()
def train(
    model: nn.Module,
    optimizers: Optimizers,
    batches: Callable[[int], Sequence[Batch]],
    objective: Objective,
    config: LoopConfig,
    *,
    folder: Path,
    hooks: Sequence[Hook] = (),
    validate: Callable[[Any], float | dict[str, float]] | None = None,
    choices: dict[str, Any] | None = None,
    device: str = "cpu",
    ledger: Ledger | None = None,
) -> Outcome:
    """Train until `config` says so. `choices` (what a probe decided) are saved with every checkpoint. `validate` gives
    one number, or several, the one that counts under `validation`.

    Checkpoints are written beside the steps. Interrupted (after saving) on SIGINT or SIGTERM; StorageError when one
    could not be written; DodamError when the loss is no longer a number, or (after saving) where there is no batch to
    be had."""
    run = Run(model, optimizers, folder, choices or {}, ledger)
    known = run.resume()
    run.clock.tick(False)
    plan = Plan(config, run.clock, **known)
    recent: list[torch.Tensor] = []  # losses since the last row
    with run.writer, looking_on(hooks, run.step), stop_signals() as stopped:
        if run.step == 0:
            run.save(plan)
        last_saved = run.clock.seconds()
        # The clock is asked once a step, so that the last step is also the last one logged and validated.
        last = plan.done(run.step)
        while not last:
            between = run.step % config.checkpoint_every == 0
            out_of_time = plan.out_of_time(run.writer.longest)
            if run.clock.tick(bool(stopped) or out_of_time or run.writer.failed) and between:
                stop_here(run, plan, folder, out_of_time=out_of_time)
            plan.begin_step()
            scale = config.schedule(plan.progress(run.step))
            seed_dropout(config.seed, run.step)
            microbatches = run.next_batches(batches, plan, between=between)
            loss, norm, tokens = one_step(model, optimizers, microbatches, objective, config.clip, scale, device)
            run.step += 1
            run.tokens += tokens
            recent.append(loss)
            run.clock.tick(bool(stopped))
            plan.end_step()
            check_finite(norm, run.step, folder)
            last = plan.done(run.step)
            if run.step % config.log_every == 0 or last:
                run.loss, recent = float(distributed.summed(torch.stack(recent)).mean()), []
                row = run.row(plan, scale, norm) | (ledger.tell() if ledger else {})
                for hook in hooks:
                    hook.step(row)
            if plan.validation_due(run.step, last):
                row = run.measured(validate, plan)
                run.keep_best(config.best)
                for hook in hooks:
                    hook.validate(row)
                distributed.wait_for_first()  # which may have written texts, for longer than a step may take
            due = run.clock.seconds() - last_saved > config.checkpoint_seconds
            if due and run.step % config.checkpoint_every == 0:
                run.save(plan)
                last_saved = run.clock.seconds()
    run.save(plan)
    run.writer.wait()
    if run.take_best():
        run.measured(validate, plan)  # so that what a stage keeps of a validation is told of these weights
    run.clock.tick(False)
    plan.begin_step()  # none comes: what went by since the last one is counted
    return Outcome(run.step, run.tokens, run.clock.seconds(), run.loss, run.validation, plan.aside, run.best_step)


def stop_here(run: Run, plan: Plan, folder: Path, *, out_of_time: bool) -> NoReturn:
    """Save, and Interrupted when all is on the disk; what could not be written is raised instead."""
    run.save(plan)
    run.writer.wait()
    why = ", as the time of this process is nearly over" if out_of_time else ""
    raise Interrupted(f"stopped at step {run.step}{why}; everything is saved", where=str(folder))


def seed_dropout(seed: int, step: int) -> None:
    """Dropout is a function of the step, like the batch, and another one on every rank, but for those that compute the
    same products together."""
    torch.manual_seed(seed * 1_000_003 + step + (ranks.rank() // ranks.tensor() << 40))


def check_finite(norm: float, step: int, folder: Path) -> None:
    """DodamError when a gradient is no number any more."""
    if not math.isfinite(norm):
        mend = "Lower --learning-rate; the last checkpoint is whole."
        raise DodamError(f"the gradient is not a number at step {step}", where=str(folder), mend=mend)


def one_step(
    model: nn.Module,
    optimizers: Optimizers,
    microbatches: Sequence[Batch],
    objective: Objective,
    clip: float,
    scale: float,
    device: str,
) -> tuple[torch.Tensor, float, int]:
    """One optimiser step over all microbatches: (mean loss, gradient norm, positions read). Of many ranks each gets its
    part of the loss, and the others whole."""
    weight, tokens = distributed.over_replicas(
        sum(objective.weight(batch) for batch in microbatches), sum(batch.num_tokens for batch in microbatches)
    )
    total = torch.zeros((), device=device)
    losses: list[torch.Tensor] = []
    for batch in microbatches:
        here = context.section_of(pipeline.to_learn(batch.to(device)))
        loss = objective(model, here) / max(weight, 1.0)
        total += loss.detach() * ranks.pipeline() * ranks.context()
        if ranks.pipeline() > 1:
            losses.append(loss)  # the next part begins before this one comes back
        else:
            loss.backward()
    for loss in losses:
        loss.backward()
    distributed.sum_gradients(optimizers.parameters)
    norm = distributed.clip(optimizers.parameters, clip)
    optimizers.step(scale)
    optimizers.zero()
    return total, float(norm), int(tokens)


@contextmanager
def looking_on(hooks: Sequence[Hook], step: int) -> Iterator[None]:
    """Within, the hooks look on; they are told of the end also where that is an exception."""
    for hook in hooks:
        hook.start(step)
    try:
        yield
    finally:
        for hook in hooks:
            hook.end()


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Within, SIGINT and SIGTERM are noted in the list instead of ending the process."""
    noted: list[int] = []
    handlers = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            handlers[number] = signal.signal(number, lambda signum, _frame: noted.append(signum))
        except ValueError:  # not the main thread: whoever runs that one handles signals
            break
    try:
        yield noted
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
