"""The only training loop: accumulate, clip, step, schedule, log, validate, save, resume. It knows no task.

In come a model, its optimisers, a function from step number to microbatches, an objective and hooks; out come the
trained model and a record of the run. Killed at any moment and started again it ends with the same weights (bit for
bit on CPU), because every batch is a function of the step number and everything else is in the checkpoint.

On many ranks each gets the microbatches of its share of the step, and all do the same at the same time; what depends on
a clock or a signal, rank 0 or any of them says (train/distributed.py).
"""

import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from dodam import ranks
from dodam.data.batch import Batch
from dodam.errors import DodamError, Interrupted
from dodam.train import checkpoint, distributed
from dodam.train.objective import Objective
from dodam.train.optim import Optimizers
from dodam.train.schedule import Schedule


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
    """Share of the run between two validations."""
    checkpoint_seconds: float = 30.0
    """Time between two checkpoints."""
    checkpoint_every: int = 1
    """Checkpoints are taken at multiples of so many steps only: where the batches of several steps come out of one
    thing that is made with the weights of the first of them (a rollout), a run goes on from such a first step."""
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


class Ledger(Protocol):
    """What a stage keeps beside weights while it trains. `tell` gives numbers for a row of metrics, of the steps since
    the last one; `state`, JSON values, goes into every checkpoint, and `restore` gets it back."""

    def tell(self) -> dict[str, float]: ...
    def state(self) -> dict[str, Any]: ...
    def restore(self, state: dict[str, Any]) -> None: ...


@dataclass
class Clock:
    """Seconds of training used so far, over all restarts. Many ranks have one clock, rank 0's, and it stands still
    between two ticks."""

    used: float = 0.0
    since: float = field(default_factory=time.perf_counter)
    told: float | None = None

    def seconds(self) -> float:
        return self.used + time.perf_counter() - self.since if self.told is None else self.told

    def tick(self, stopped: Sequence[int]) -> bool:
        """Look at it on all ranks together; whether any of them was told to stop."""
        if ranks.world() == 1:
            return bool(stopped)
        self.told, stop = distributed.tick(self.used + time.perf_counter() - self.since, bool(stopped))
        return stop


@dataclass(frozen=True)
class Outcome:
    """What a finished run knows of itself. `loss` is the mean over the last steps that were logged together."""

    steps: int
    tokens: int
    seconds: float
    loss: float
    validation: float | None


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

    Interrupted (after saving) on SIGINT or SIGTERM; DodamError when the loss is no longer a number, or (after saving)
    where there is no batch to be had."""
    run = Run(model, optimizers, folder, choices or {}, ledger)
    validated = run.resume()
    run.clock.tick(())
    plan = Plan(config, run.clock, validated)
    recent: list[torch.Tensor] = []  # losses since the last row
    if run.step == 0:
        run.save(plan)
    last_saved = run.clock.seconds()
    with looking_on(hooks, run.step), stop_signals() as stopped:
        # The clock is asked once a step, so that the last step is also the last one logged and validated.
        last = plan.done(run.step)
        while not last:
            between = run.step % config.checkpoint_every == 0
            if run.clock.tick(stopped) and between:
                run.save(plan)
                raise Interrupted(f"stopped at step {run.step}; everything is saved", where=str(folder))
            progress = plan.progress(run.step)
            # Dropout is a function of the step, like the batch, and another one on every rank.
            torch.manual_seed(config.seed * 1_000_003 + run.step + (ranks.rank() << 40))
            microbatches = run.next_batches(batches, plan, between=between)
            scale = config.schedule(progress)
            loss, norm, tokens = one_step(model, optimizers, microbatches, objective, config.clip, scale, device)
            run.step += 1
            run.tokens += tokens
            recent.append(loss)
            run.clock.tick(stopped)
            plan.observe()
            check_finite(norm, run.step, folder)
            last = plan.done(run.step)
            if run.step % config.log_every == 0 or last:
                run.loss, recent = float(distributed.summed(torch.stack(recent)).mean()), []
                row = run.row(plan, scale, norm) | (ledger.tell() if ledger else {})
                for hook in hooks:
                    hook.step(row)
            if plan.validation_due(run.step, last):
                row = run.measured(validate)
                for hook in hooks:
                    hook.validate(row)
            due = run.clock.seconds() - last_saved > config.checkpoint_seconds
            if due and run.step % config.checkpoint_every == 0:
                run.save(plan)
                last_saved = run.clock.seconds()
    run.save(plan)
    return Outcome(run.step, run.tokens, run.clock.seconds(), run.loss, run.validation)


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
    weight, tokens = distributed.sums(
        sum(objective.weight(batch) for batch in microbatches), sum(batch.num_tokens for batch in microbatches)
    )
    total = torch.zeros((), device=device)
    for batch in microbatches:
        loss = objective(model, batch.to(device)) / max(weight, 1.0)
        loss.backward()
        total += loss.detach()
    distributed.sum_gradients(optimizers.parameters)
    norm = distributed.whole(nn.utils.clip_grad_norm_(optimizers.parameters, clip).detach())
    optimizers.step(scale)
    optimizers.zero()
    return total, float(norm), int(tokens)


class Plan:
    """How far a run is and when it ends, by steps, by the clock, or by whichever is further."""

    def __init__(self, config: LoopConfig, clock: Clock, validated: int) -> None:
        self.config, self.clock = config, clock
        self.validated = validated  # how many `validate_every` shares of the run have been validated
        self.step_seconds: list[float] = []
        self.last = clock.seconds()

    def observe(self) -> None:
        now = self.clock.seconds()
        self.step_seconds = [*self.step_seconds[-8:], now - self.last]
        self.last = now

    def usual(self) -> float:
        """Median seconds of the last steps; 0 before the first."""
        return sorted(self.step_seconds)[len(self.step_seconds) // 2] if self.step_seconds else 0.0

    def progress(self, step: int) -> float:
        """Share of the run that is done, from 0 to 1."""
        by_steps = step / self.config.steps if self.config.steps is not None else 0.0
        by_clock = self.clock.seconds() / self.config.seconds if self.config.seconds is not None else 0.0
        return min(1.0, max(by_steps, by_clock))

    def done(self, step: int) -> bool:
        """Whether no step fits any more, into the steps or into the time."""
        if self.config.steps is not None and step >= self.config.steps:
            return True
        seconds = self.config.seconds
        return seconds is not None and self.clock.seconds() + 0.5 * self.usual() >= seconds

    def validation_due(self, step: int, last: bool) -> bool:
        """At every `validate_every` of the run and after its last step."""
        turn = int(self.progress(step) / self.config.validate_every + 1e-9)
        due = turn > self.validated or last
        self.validated = max(turn, self.validated)
        return due

    def remaining(self, step: int) -> float:
        """Seconds still to go, as far as can be told."""
        by_steps = (self.config.steps - step) * self.usual() if self.config.steps is not None else math.inf
        by_clock = self.config.seconds - self.clock.seconds() if self.config.seconds is not None else math.inf
        return max(0.0, min(by_steps, by_clock))


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
        trained = {f"model.{name}": one for name, one in model.named_parameters() if one.requires_grad}
        self.tensors: dict[str, torch.Tensor] = {**trained, **optimizers.state()}
        self.folder = folder / "checkpoint"
        self.step, self.tokens, self.loss = 0, 0, math.nan
        self.validation: float | None = None
        self.clock = Clock()

    def save(self, plan: Plan) -> None:
        """Write a checkpoint: rank 0 does, of all ranks' tensors."""
        state = {
            "tokens": self.tokens,
            "seconds": self.clock.seconds(),
            "loss": None if math.isnan(self.loss) else self.loss,
            "validation": self.validation,
            "validated": plan.validated,
            "choices": self.choices,
        }
        if self.ledger:
            state["ledger"] = self.ledger.state()
        tensors = distributed.gathered(self.tensors)
        distributed.first(lambda: checkpoint.save(self.folder, self.step, tensors, state))

    def resume(self) -> int:
        """Go back to the newest checkpoint, if there is one; how many validations had been done by then."""
        tensors: dict[str, torch.Tensor] = {}

        def read() -> dict[str, Any] | None:
            found = checkpoint.load(self.folder)
            if found is None:
                return None
            tensors.update(found[0])
            checkpoint.check(tensors, self.tensors, self.folder)
            return found[1]

        state = distributed.first(read)
        if state is None:
            return 0
        distributed.spread(tensors, self.tensors)
        self.step, self.tokens = state["step"], state["tokens"]
        self.loss = math.nan if state["loss"] is None else state["loss"]
        self.validation = state["validation"]
        self.clock = Clock(used=state["seconds"])
        if self.ledger:
            self.ledger.restore(state["ledger"])
        return state["validated"]

    def next_batches(self, batches: Callable[[int], Sequence[Batch]], plan: Plan, *, between: bool) -> Sequence[Batch]:
        """The microbatches of the step. Where there are none to be had, the run is saved first, if it may be here."""
        try:
            return batches(self.step)
        except DodamError:
            if between:
                self.save(plan)
            raise

    def measured(self, validate: Callable[[Any], float | dict[str, float]] | None) -> dict[str, Any]:
        """What the validation finds, as a row of metrics; one without it where there is nothing to validate on."""
        found = {} if validate is None else validate(self.model)
        numbers = found if isinstance(found, dict) else {"validation": found}
        self.validation = numbers.get("validation")
        return {"step": self.step, **numbers, "seconds": self.clock.seconds()}

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
