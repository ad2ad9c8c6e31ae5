"""The time dial: from seconds, data and this machine to the sizes of a run.

In come the time, the tokens at hand and a function that times a candidate; out come depth, batch and the steps
expected. The rule and the runs it rests on are in docs/training.md.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from dodam.models.build import decoder_config, flops_per_token, num_parameters

TOKENS_PER_PARAMETER = 6.0  # read by a model, its embedding table not counted
MOST_EPOCHS = 4.0  # repeats beyond this teach little (Muennighoff et al. 2023)
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
    vocabulary: int,
    context: int,
    time_step: Callable[[int, int], float],
    *,
    depth: int | None = None,
    batch: int | None = None,
) -> Choice:
    """The deepest model that still reads enough tokens in `seconds`; `depth` and `batch` are taken as given where
    given.

    `time_step(depth, batch)` measures a step of a candidate; the choice is made again with what it says."""
    given_depth, given_batch = depth, batch
    depth = given_depth or deepest(seconds, corpus_tokens, vocabulary, context, FIRST_GUESS)
    for _ in range(3):
        config = decoder_config(vocabulary=vocabulary, context=context, depth=depth)
        batch = given_batch or rows_per_step(num_parameters(config), context)
        step_seconds = time_step(depth, batch)
        rate = flops_per_token(config, context) * batch * context / step_seconds
        again = given_depth or deepest(seconds, corpus_tokens, vocabulary, context, rate)
        if again == depth:
            break
        depth = again
    assert batch is not None
    steps = max(1, int(seconds / step_seconds))
    return Choice(depth=depth, batch=batch, steps=steps, tokens=steps * batch * context)


def deepest(seconds: float, corpus_tokens: int, vocabulary: int, context: int, flop_rate: float) -> int:
    """The largest depth that still reads `TOKENS_PER_PARAMETER` tokens at `flop_rate`, repeats beyond
    `MOST_EPOCHS` not counted."""
    best = DEPTHS[0]
    for depth in DEPTHS:
        config = decoder_config(vocabulary=vocabulary, context=context, depth=depth)
        tokens = min(seconds * flop_rate / flops_per_token(config, context), MOST_EPOCHS * corpus_tokens)
        if tokens >= TOKENS_PER_PARAMETER * (num_parameters(config) - vocabulary * config.width):
            best = depth
    return best


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
