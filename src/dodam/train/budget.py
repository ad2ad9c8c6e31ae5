"""The time dial: from seconds, data and this machine to the sizes of a run.

In come the time, the tokens at hand, the sizes of each depth and a function that times a candidate; out come depth,
batch and the steps expected. The constants of the rule are first guesses: no runs of ours have tested them yet.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from dodam.errors import UsageError
from dodam.models.build import Sizes, flops_per_token, num_parameters

TOKENS_PER_PARAMETER = 6.0  # read by a model, its embedding table not counted
MOST_EPOCHS = 4.0  # repeats beyond this teach little (Muennighoff et al. 2023)
LEAST_STEPS = 200
DEPTHS = (2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24)
FIRST_GUESS = 1e11  # training FLOP/s of two CPU cores


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What the dial says: the model's depth, rows per step, and the steps and tokens it expects to get through."""

    depth: int
    batch: int
    steps: int
    tokens: int


def rows_per_step(parameters: int, context: int) -> int:
    """Tokens a step grow with the square root of the model: 2k at 1M parameters, 8k at 16M, 32k at 256M."""
    return max(4, round(2048 * (parameters / 1e6) ** 0.5 / context))


def choose(
    seconds: float,
    corpus_tokens: int,
    context: int,
    shape: Callable[[int], Sizes],
    time_step: Callable[[int, int], float],
    *,
    depth: int | None = None,
    batch: int | None = None,
) -> Choice:
    """The deepest model that still reads enough tokens in `seconds`; `depth` and `batch` stay as they are given.

    `shape(depth)` are a candidate's sizes (UsageError where they do not fit together), `time_step(depth, batch)`
    measures a step of it. The choice is made again with what that says, three times at most; the last one measured
    holds."""
    wanted = depth or deepest(seconds, corpus_tokens, context, shape, FIRST_GUESS)
    for _ in range(3):
        measured = wanted
        config = shape(measured)
        rows = batch or rows_per_step(num_parameters(config), context)
        step_seconds = time_step(measured, rows)
        rate = flops_per_token(config, context) * rows * context / step_seconds
        wanted = depth or deepest(seconds, corpus_tokens, context, shape, rate)
        if wanted == measured:
            break
    per_step = rows * context
    steps = min(max(1, int(seconds / step_seconds)), most_steps(corpus_tokens / per_step))
    return Choice(depth=measured, batch=rows, steps=steps, tokens=steps * per_step)


def most_steps(steps_per_epoch: float) -> int:
    """Steps after which the data was read `MOST_EPOCHS` times, and no fewer than it takes to learn anything."""
    return max(LEAST_STEPS, math.ceil(MOST_EPOCHS * steps_per_epoch))


def deepest(seconds: float, corpus_tokens: int, context: int, shape: Callable[[int], Sizes], flop_rate: float) -> int:
    """The largest depth that still reads `TOKENS_PER_PARAMETER` tokens at `flop_rate`, else the smallest.

    Repeats beyond `MOST_EPOCHS` are not counted, and depths whose sizes do not fit together are left out."""
    best = 0
    for depth in DEPTHS:
        try:
            config = shape(depth)
        except UsageError:
            continue
        tokens = min(seconds * flop_rate / flops_per_token(config, context), MOST_EPOCHS * corpus_tokens)
        if not best or tokens >= TOKENS_PER_PARAMETER * (num_parameters(config) - config.vocabulary * config.width):
            best = depth
    return best or DEPTHS[0]


def time_steps(step: Callable[[], object], *, seconds: float, most: int = 50) -> float:
    """Median seconds of `step`, tried for about `seconds` after one call that is not counted."""
    step()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 2 or (time.perf_counter() < end and len(times) < most):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2]
