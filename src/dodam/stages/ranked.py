"""What the stages that learn from people's preferences share: what they read, what they compare, what they hold back.

In come a stage's config and the files it names; out come prompts with their rankings, cut into what is learned and what
is held back, and for each prompt the contests that its loss is made of.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from annotated_types import Gt, Lt, MinLen

from dodam.errors import DataError, UsageError
from dodam.stages.parallel import NOT_TOGETHER, is_sharded
from dodam.stages.training import Training

if TYPE_CHECKING:
    from dodam.data.answers import Contest
    from dodam.data.judged import Judged

RankingLoss = Literal["bradley-terry", "plackett-luce", "best-and-worst"]
LEAST_BIN = 50  # pairs whose lengths differ alike that are balanced together
MOST_BINS = 10


@dataclass(frozen=True, kw_only=True)
class RankedTraining(Training):
    """The flags of the stages that learn from rankings."""

    UNSHARED: ClassVar = NOT_TOGETHER

    data: Annotated[tuple[str, ...], MinLen(1)]
    """Rankings, pairs or scored answers: JSONL, JSON or Parquet files, folders, globs, `sample:preferences`, or a
    feedback store (feedback.sqlite, postgresql://...)."""
    dev: tuple[str, ...] = ()
    """Rankings to measure on, in place of a part of --data."""
    validation: Annotated[float, Gt(0), Lt(1)] | None = None
    """Share of the prompts that is held back to measure on, when there is no --dev. Default: 0.1, for dpo 0.05."""
    columns: dict[str, str] = field(default_factory=dict)
    """What is called otherwise: of a row prompt system chosen rejected answers ranks task, of an answer text score."""
    name: str | None = None
    """The assistant's name, put wherever the rows say {name}. Default: 도담 in the bundled ones; in others {name}
    stays."""
    epochs: Annotated[float, Gt(0)] | None = None
    """Passes over the prompts, when neither --steps nor --budget is given. Default: 1."""
    microbatch: Annotated[int, Gt(0)] | None = None
    """Rows whose activations are kept at one time; fewer need less memory and more time. Default: all of the batch."""
    encoding: str = "auto"
    """The encoding of text files that are not UTF-8, such as cp949; `auto` finds it out."""
    skip_bad: bool = False
    """Leave out rows that cannot be used, and count them, instead of stopping at the first."""


@dataclass(frozen=True)
class Data:
    """Prompts with rankings: what is learned and what is held back."""

    learned: "list[Judged]"
    held_back: "list[Judged]"

    @property
    def digest(self) -> str:
        """Changes with everything that was read."""
        from dodam.data.judged import fingerprint

        return fingerprint([*self.learned, *self.held_back])


def read(config: RankedTraining, stage: str, usual_share: float, *, ties: bool = False) -> Data:
    """Rankings of --data, cut by prompt, or those of --data and --dev. With `ties` prompts of which all answers are
    tied are learned from too. DataError where nothing is left to learn from or to measure on."""
    from dodam.data.judged import judged, split
    from dodam.data.preferences import named, read_rankings

    reading = {"columns": config.columns, "encoding": config.encoding, "skip_bad": config.skip_bad, "run": config.out}
    prompts = judged(named(one, config.name) for one in read_rankings(config.data, **reading))
    if config.dev:
        held_back = judged(named(one, config.name) for one in read_rankings(config.dev, **reading))
        known = {one.rankings[0].key for one in held_back}
        learned = [one for one in prompts if one.rankings[0].key not in known]
        if num_known := len(prompts) - len(learned):
            print(f"{stage}: {num_known} prompts are in --dev too; they are not learned from.", file=sys.stderr)
    else:
        learned, held_back = split(prompts, config.validation or usual_share)
    telling = [one for one in learned if one.pairs(ties=ties)]
    measured = [one for one in held_back if one.pairs()]
    if num_tied := len(learned) + len(held_back) - len(telling) - len(measured):
        print(f"{stage}: {num_tied} prompts left out: all their answers are tied.", file=sys.stderr)
    for found, name in ((telling, "learned from"), (measured, "held back")):
        if not found:
            mend = "Give more prompts, another --validation, or --dev FILE."
            raise DataError(f"no prompt with a preferred answer is {name}", where=", ".join(config.data), mend=mend)
    counts = [sum(len(one.pairs()) for one in found) for found in (telling, measured)]
    print(
        f"{stage}: {len(telling):,} prompts with {counts[0]:,} pairs learned from, "
        f"{len(measured):,} with {counts[1]:,} held back.",
        file=sys.stderr,
    )
    return Data(telling, measured)


def contests_of(
    one: "Judged",
    loss: RankingLoss = "bradley-terry",
    *,
    ties: bool = False,
    margin: float = 0.0,
    margin_by: Literal["ranks", "scores"] = "ranks",
) -> "list[Contest]":
    """What is compared of a prompt's answers; the weights add up to 1, so that prompts count alike.

    `bradley-terry`: every pair; `best-and-worst`: those of the best and the worst; `plackett-luce`: every answer
    against all of its ranking that are below it (where answers are tied, each alone against those below)."""
    from dodam.data.answers import Contest

    if loss == "plackett-luce":
        found = []
        for ranking in one.rankings:
            numbers = one.numbers(ranking)
            for number, rank in zip(numbers, ranking.ranks, strict=True):
                below = [other for other, its in zip(numbers, ranking.ranks, strict=True) if its > rank]
                found += [(number, *below)] if below else []
        return [Contest(answers, 1 / len(found)) for answers in found]
    pairs = [pair for pair in one.pairs(ties=ties) if pair.extreme or loss == "bradley-terry"]
    if margin and margin_by == "scores" and any(ranking.scores is None for ranking in one.rankings):
        mend = "Take --margin-by ranks."
        raise DataError("a margin by scores needs a score for each answer", where=one.where, mend=mend)
    return [
        Contest(
            (pair.better, pair.worse),
            1 / len(pairs),
            pair.tied,
            margin * (pair.margin_ranks if margin_by == "ranks" else pair.margin_score) if not pair.tied else 0.0,
        )
        for pair in pairs
    ]


def balance_lengths(prompts: "Sequence[Judged]", contests: "list[list[Contest]]") -> "list[list[Contest]]":
    """Pairs weighed so that length says nothing of what is preferred: among pairs whose lengths differ by a like factor
    those whose longer answer is preferred count as much in all as those whose shorter one is, the commoner kind being
    weighed down. A kind that has no counterpart among them counts nothing."""
    import numpy as np  # not needed for --help

    gaps = np.array([
        np.log1p(len(one.answers[first])) - np.log1p(len(one.answers[second]))
        for one, mine in zip(prompts, contests, strict=True)
        for first, second in (contest.answers for contest in mine)
    ])  # fmt: skip
    weights = np.array([contest.weight for mine in contests for contest in mine])
    tied = np.array([contest.tied for mine in contests for contest in mine])
    factors = np.ones(len(gaps))
    telling = np.flatnonzero((gaps != 0) & ~tied)
    order = telling[np.argsort(np.abs(gaps[telling]), kind="stable")]
    for bin_ in np.array_split(order, min(MOST_BINS, max(1, len(order) // LEAST_BIN))):
        longer, shorter = bin_[gaps[bin_] > 0], bin_[gaps[bin_] < 0]
        both = min(weights[longer].sum(), weights[shorter].sum())
        for kind in (longer, shorter):
            factors[kind] = both / max(weights[kind].sum(), 1e-12)
    if not (factors * weights).any():
        kind = "longer" if (gaps[telling] > 0).all() else "shorter"
        what = f"the {kind} answer is always preferred, so nothing is left when length may say nothing"
        raise DataError(what, where="--length-control", mend="Leave --length-control out.")
    each = iter(factors)
    weighed = [[one._replace(weight=one.weight * float(next(each))) for one in mine] for mine in contests]
    return [[one for one in mine if one.weight] for mine in weighed]


def check_head(freeze: Sequence[str]) -> None:
    """UsageError for a pattern that would freeze the head, which is new."""
    for pattern in freeze:
        if fnmatchcase("classifier.output.weight", pattern):
            raise UsageError(f"{pattern} would freeze the head, which is new", where="--freeze")


def check_ranks(config: RankedTraining) -> None:
    """UsageError for ways to share the work over ranks that do not go together here."""
    if config.parallel.shard == "full" and config.microbatch:
        what = "ranks that hold a part of the model each compute all their rows at one time"
        raise UsageError(what, where="--microbatch", mend="Leave it out, or --parallel.shard.")


def rows_at_once(config: RankedTraining) -> int:
    """Rows of answers that are computed side by side. All that a rank has where the weights are spread over ranks: each
    call of the model puts them together on all ranks, so all have to make as many."""
    from dodam.data.answers import ROWS_AT_ONCE

    return sys.maxsize if is_sharded(config) else config.microbatch or ROWS_AT_ONCE


def check_reading(config: RankedTraining) -> None:
    """UsageError where what is held back is told twice, or a run is bounded twice."""
    if config.dev and config.validation is not None:
        raise UsageError("--dev and --validation name the held-back prompts", mend="Give one of them.")
    if sum(value is not None for value in (config.steps, config.budget, config.epochs)) > 1:
        raise UsageError("--steps, --budget and --epochs bound the same run", mend="Give one of them.")
