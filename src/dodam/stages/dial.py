"""The time dial of `pretrain --budget`: candidates are timed here, and the one that is chosen once more compiled.

In come the stage's config, the machine and the text at hand; out come depth, rows and steps of the run, and whether
its blocks are compiled.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from dodam import ranks
from dodam.stages import compiling, parts, training
from dodam.stages.architecture import build
from dodam.stages.parallel import is_spread

if TYPE_CHECKING:
    from dodam.machine import Machine
    from dodam.models.build import Sizes
    from dodam.stages.pretrain import Pretrain, Task
    from dodam.train.budget import Choice, Corpus


def turn(
    config: "Pretrain",
    machine: "Machine",
    corpus: "Corpus",
    context: int,
    shape: "Callable[[int], Sizes]",
    task: "Task",
    depth: int | None,
) -> "tuple[Choice, bool]":
    """What fits into the budget. Whether compiling may repay itself is decided by the size of the run, whether it does
    by its measured gain; what is compiled for that is kept for the run."""
    from dodam.models.build import flops_per_token
    from dodam.train import budget, clock, distributed

    def left() -> float:
        return training.seconds_left(config) * (1 - clock.ASIDE)

    def time_of(depth: int, batch: int) -> float:
        return time_step(config, machine, shape(depth), task, -(-batch // ranks.started()))

    choice = budget.choose(left, corpus, context, shape, time_of, depth=depth, batch=config.batch)
    batch = config.batch or distributed.divisible(choice.batch)
    sizes, per_step = shape(choice.depth), batch * context
    steps = max(1, round(choice.tokens / per_step))
    choice = replace(choice, batch=batch, steps=steps, tokens=steps * per_step)
    work, experts = flops_per_token(sizes, context), getattr(sizes, "experts", 0) > 0
    if not compiling.worth_compiling(config.compile, machine, work * choice.tokens, experts=experts):
        return choice, False
    if is_spread(config):  # then the loss alone is compiled
        return choice, True
    seconds = time_step(config, machine, sizes, task, -(-choice.batch // ranks.started()), compiled=True)
    rate = work * per_step / seconds
    if config.compile == "auto" and rate < choice.rate:
        return choice, False
    tokens = budget.tokens_in(left(), corpus, context, sizes, rate)
    steps = max(1, round(tokens / per_step))
    return replace(choice, steps=steps, tokens=steps * per_step, rate=rate), True


def time_step(
    config: "Pretrain", machine: "Machine", sizes: "Sizes", task: "Task", batch: int, *, compiled: bool = False
) -> float:
    """Seconds of one training step of a candidate on the first rows."""
    from dodam.train.budget import PROBED, time_steps
    from dodam.train.loop import one_step
    from dodam.train.optim import OptimConfig, Optimizers
    from dodam.train.recompute import recompute_blocks

    model = build(sizes, 0).to(machine.device)
    if config.float8:
        parts.use_float8(config, model, machine.to_dict())
    if compiled:
        compiling.compile_blocks(model)
    if config.recompute:
        recompute_blocks(model, config.recompute)
    optimizers, objective = Optimizers(model, OptimConfig()), task.objective(compiled)
    batches = task.batch(0, batch).split(config.microbatch or batch)
    seconds = PROBED * training.seconds_left(config)
    return time_steps(
        lambda: one_step(model, optimizers, batches, objective, 1.0, 1.0, machine.device), seconds=seconds
    )
