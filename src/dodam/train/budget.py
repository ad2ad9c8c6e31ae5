"""The time dial: from seconds, data and this machine to the sizes of a run.

In come the time, the text at hand, the sizes of each depth and a function that times a candidate; out come depth, batch
and the steps expected. Which model is best is told by the rule of train/scaling.py.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from dodam.errors import UsageError
from dodam.models.build import Sizes, flops_per_token, num_block_parameters
from dodam.train import scaling

TOKENS_A_STEP = 3.2  # times the square root of the tokens of a run
MOST_EPOCHS = 4.0  # repeats beyond this teach little (Muennighoff et al. 2023)
LEAST_STEPS = 200
DEPTHS = (2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24)
FIRST_GUESS = 1e11  # training FLOP/s of two CPU cores
MOST_PROBES = 4
PROBED = 0.01  # share of the time that goes into measuring a candidate
MOST_PROBED = 1.5  # seconds of it


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What the dial says: the model's depth, rows per step, and the steps and tokens it expects to get through."""

    depth: int
    batch: int
    steps: int
    tokens: int
    rate: float
    """FLOP/s, as measured."""


@dataclass(frozen=True)
class Corpus:
    """The text at hand, as a tokenizer cuts it."""

    tokens: float
    bytes_a_token: float


def rows_per_step(tokens: float, context: int) -> int:
    """Tokens of a step grow with the square root of those of the run, whatever the model (Zhang et al. 2024): 2k of
    400k, 10k of 10M, 100k of 1B (docs/scaling.md)."""
    return max(1, round(TOKENS_A_STEP * tokens**0.5 / context))


def rows_of_steps(steps: int, context: int) -> int:
    """The same where the steps are known: tokens of a step grow with their number."""
    return rows_per_step(TOKENS_A_STEP**2 * steps**2, context)


def choose(
    left: Callable[[], float],
    corpus: Corpus,
    context: int,
    shape: Callable[[int], Sizes],
    time_step: Callable[[int, int], float],
    *,
    depth: int | None = None,
    batch: int | None = None,
) -> Choice:
    """The model that ends lowest after the seconds that are `left` (asked anew after each measurement, which takes
    some of them); `depth` and `batch` stay as they are given.

    `shape(depth)` are a candidate's sizes (UsageError where they do not fit together), `time_step(depth, batch)`
    measures a step of it. Depths not measured are taken to compute as fast as the nearest one that was; the best is
    measured in its turn, `MOST_PROBES` at most, and the best of those measured is taken."""
    rates: dict[int, float] = {}  # FLOP/s
    while len(rates) < MOST_PROBES:
        seconds = left()
        wanted = depth or best_depth(seconds, corpus, context, shape, rates)
        if wanted in rates:
            break
        rows = batch or rows_per_step(
            tokens_in(seconds, corpus, context, shape(wanted), rate_of(wanted, rates)), context
        )
        flops = flops_per_token(shape(wanted), context) * rows * context
        rates[wanted] = flops / time_step(wanted, rows)
    seconds = left()
    chosen = depth or best_depth(seconds, corpus, context, shape, rates, tuple(rates))
    tokens = tokens_in(seconds, corpus, context, shape(chosen), rates[chosen])
    per_step = (batch or rows_per_step(tokens, context)) * context
    steps = max(1, round(tokens / per_step))
    return Choice(depth=chosen, batch=per_step // context, steps=steps, tokens=steps * per_step, rate=rates[chosen])


def tokens_in(seconds: float, corpus: Corpus, context: int, sizes: Sizes, rate: float) -> float:
    """Tokens that are read in the time at so many FLOP/s; of a small corpus as many as are worth reading."""
    return min(seconds * rate / flops_per_token(sizes, context), MOST_EPOCHS * corpus.tokens)


def most_steps(steps_per_epoch: float) -> int:
    """Steps after which the data was read `MOST_EPOCHS` times, and no fewer than it takes to learn anything."""
    return max(LEAST_STEPS, math.ceil(MOST_EPOCHS * steps_per_epoch))


def rate_of(depth: int, rates: dict[int, float]) -> float:
    """FLOP/s of a depth: what was measured of it, or of the nearest one."""
    return rates[min(rates, key=lambda one: abs(math.log(one / depth)))] if rates else FIRST_GUESS


def best_depth(
    seconds: float,
    corpus: Corpus,
    context: int,
    shape: Callable[[int], Sizes],
    rates: dict[int, float],
    depths: tuple[int, ...] = DEPTHS,
) -> int:
    """The depth that ends lowest by the rule, at the FLOP/s that were measured; depths whose sizes do not fit together
    are left out. Passes over the text beyond `MOST_EPOCHS` are not made."""
    found: dict[int, float] = {}
    for depth in depths:
        try:
            sizes = shape(depth)
        except UsageError:
            continue
        tokens = tokens_in(seconds, corpus, context, sizes, rate_of(depth, rates))
        read, there = tokens * corpus.bytes_a_token, corpus.tokens * corpus.bytes_a_token
        found[depth] = scaling.bits_per_byte(num_block_parameters(sizes), read, there)
    return min(found, key=found.__getitem__, default=depths[0])


def time_steps(step: Callable[[], object], *, seconds: float, most: int = 50) -> float:
    """Median seconds of `step` in about `seconds` (at most `MOST_PROBED`), after one call that is not counted."""
    step()
    times: list[float] = []
    end = time.perf_counter() + min(seconds, MOST_PROBED)
    while len(times) < 2 or (time.perf_counter() < end and len(times) < most):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2]
