"""Answers to prompts as ids, in batches of whole prompts, with what is compared in them; every batch a function of its
number.

Where a model only looks back, answers to one prompt share its tokens: a row is the prompt and after it one answer after
another, each at the place it would have alone, and none looks at another. Encoders read each answer for itself.

A answers of a batch, B rows, T positions, N tokens that are predicted, S contests of at most K answers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dodam.data.conversation import Messages, encode_many

if TYPE_CHECKING:
    from dodam.tokenizer.tokenizer import Tokenizer

ROWS_AT_ONCE = 8  # rows of like length that are computed side by side, so that little is padded
LEAST_PROMPT = 4  # a prompt keeps at least 1 / so much of the context beside a long answer
NOBODY = -1  # where a contest has fewer answers than others


class Encoded(NamedTuple):
    """A prompt and an answer to it as ids, and whether one had to be cut. For encoders `answer` is the whole text, and
    `types` says which of two texts each token belongs to."""

    prompt: list[int]
    answer: list[int]
    cut: bool
    types: list[int] | None = None


class Contest(NamedTuple):
    """Answers to one prompt, the first preferred to all others, or, `tied`, two that are equally good; how much this
    counts, and by how much the first one's score shall be higher."""

    answers: tuple[int, ...]
    weight: float
    tied: bool = False
    margin: float = 0.0


class Compared(NamedTuple):
    """What is learned of one prompt: its answers, their contests and, where there is one, the reference's
    log-probability of each answer."""

    answers: Sequence[Encoded]
    contests: Sequence[Contest]
    reference: Sequence[float] | None = None


@dataclass(frozen=True)
class AnswerRows:
    """Rows side by side, [B, T], padded on the right.

    `numbers_A`: which answers of the batch stand here; `ends_A`: where, counted through all rows, each one's last
    token is. Of the N tokens of answers: `tokens_N`, the places `sources_N` whose hidden states predict them, and which
    of the answers here they belong to, `owners_N`. Where a row holds several answers `branches_BT` is 0 in the prompt
    and then the number of the answer, and `positions_BT` says where each token would stand alone; `types_BT` is for
    encoders."""

    ids_BT: Tensor
    real_BT: Tensor
    numbers_A: Tensor
    ends_A: Tensor
    tokens_N: Tensor
    sources_N: Tensor
    owners_N: Tensor
    positions_BT: Tensor | None = None
    branches_BT: Tensor | None = None
    types_BT: Tensor | None = None

    def to(self, device: str | torch.device) -> "AnswerRows":
        return replace(self, **{name: value.to(device) for name, value in vars(self).items() if value is not None})


@dataclass(frozen=True)
class AnswerBatch:
    """Answers to some prompts and what is to be told of them: `contests_SK` holds numbers of answers, the preferred one
    first, `NOBODY` where there are fewer than K. `reference_A`: the reference's log-probabilities, where there are."""

    parts: tuple[AnswerRows, ...]
    contests_SK: Tensor
    weights_S: Tensor
    tied_S: Tensor
    margins_S: Tensor
    num_answers: int
    reference_A: Tensor | None = None

    @property
    def num_tokens(self) -> int:
        return sum(int(part.real_BT.sum()) for part in self.parts)

    def to(self, device: str | torch.device) -> "AnswerBatch":
        moved = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, parts=tuple(part.to(device) for part in self.parts), **moved)


def encode_answers(
    tokenizer: "Tokenizer", asked: Sequence[tuple[Messages, Sequence[str]]], context: int
) -> list[list[Encoded]]:
    """Each answer behind its prompt as a decoder reads them: by the chat template, to the end of the answer."""
    whole = [[*prompt, {"role": "assistant", "content": text}] for prompt, texts in asked for text in texts]
    encoded = iter(encode_many(tokenizer, whole))
    found = []
    for _, texts in asked:
        mine = []
        for _ in texts:
            one = next(encoded)
            end = len(one.trained) - one.trained[::-1].index(True)  # a template may have more behind an answer
            start = end - [*one.trained[:end][::-1], False].index(False)
            mine.append(within(one.ids[:start], one.ids[start:end], context))
        found.append(mine)
    return found


def within(prompt: list[int], answer: list[int], context: int) -> Encoded:
    """Both within `context` tokens: the prompt loses what stands behind its first token, down to a share of the
    context, then the answer what stands before its last token, which is where it is judged."""
    room = max(context // LEAST_PROMPT, context - len(answer))
    kept = prompt if len(prompt) <= room else [prompt[0], *prompt[len(prompt) - room + 1 :]]
    room = context - len(kept)
    said = answer if len(answer) <= room else [*answer[: room - 1], answer[-1]]
    return Encoded(kept, said, len(kept) + len(said) < len(prompt) + len(answer))


class Row(NamedTuple):
    """Answers, by number, that share a row, and the ids of their prompt."""

    prompt: list[int]
    numbers: list[int]
    length: int


def rows_of(answers: Sequence[Encoded], numbers: Sequence[int], shared: int) -> Iterator[Row]:
    """Which answers of one prompt share a row of at most `shared` tokens; 0 gives each its own."""
    for prompt, group in groupby(zip(numbers, answers, strict=True), key=lambda pair: pair[1].prompt):
        mine: list[int] = []
        length = len(prompt)
        for number, one in group:
            if mine and length + len(one.answer) > shared:
                yield Row(prompt, mine, length)
                mine, length = [], len(prompt)
            mine.append(number)
            length += len(one.answer)
        yield Row(prompt, mine, length)


def arrange(
    prompts: Sequence[Sequence[Encoded]], pad: int, *, shared: int, at_once: int = ROWS_AT_ONCE
) -> tuple[AnswerRows, ...]:
    """All answers of some prompts, numbered through, in rows of like length, so many side by side. Answers to one
    prompt share rows of at most `shared` tokens; 0 gives each its own."""
    answers = [one for mine in prompts for one in mine]
    rows: list[Row] = []
    first = 0
    for mine in prompts:
        rows += rows_of(mine, range(first, first + len(mine)), shared)
        first += len(mine)
    rows.sort(key=lambda row: row.length)
    starts = range(0, len(rows), at_once)
    return tuple(side_by_side(rows[start : start + at_once], answers, pad) for start in starts)


def side_by_side(rows: Sequence[Row], answers: Sequence[Encoded], pad: int) -> AnswerRows:
    """Rows padded to the longest."""
    width = max(row.length for row in rows)
    ids = np.full((len(rows), width), pad, dtype=np.int64)
    positions, branches, types = (np.zeros(ids.shape, dtype=np.int64) for _ in range(3))
    real = np.zeros(ids.shape, dtype=bool)
    numbers: list[int] = []
    ends: list[int] = []
    tokens: list[int] = []
    sources: list[int] = []
    owners: list[int] = []
    for place, row in enumerate(rows):
        start = len(row.prompt)
        ids[place, :start] = row.prompt
        positions[place, :start] = np.arange(start)
        for branch, number in enumerate(row.numbers, start=1):
            one = answers[number]
            end = start + len(one.answer)
            ids[place, start:end] = one.answer
            positions[place, start:end] = np.arange(len(row.prompt), len(row.prompt) + len(one.answer))
            branches[place, start:end] = branch
            if one.types is not None:
                types[place, start:end] = one.types
            if row.prompt:
                tokens += one.answer
                sources += [place * width + len(row.prompt) - 1, *range(place * width + start, place * width + end - 1)]
                owners += [len(numbers)] * len(one.answer)
            ends.append(place * width + end - 1)
            numbers.append(number)
            start = end
        real[place, :start] = True
    several = any(len(row.numbers) > 1 for row in rows)
    is_typed = any(one.types is not None for one in answers)
    return AnswerRows(
        ids_BT=torch.from_numpy(ids),
        real_BT=torch.from_numpy(real),
        numbers_A=torch.tensor(numbers),
        ends_A=torch.tensor(ends),
        tokens_N=torch.tensor(tokens, dtype=torch.int64),
        sources_N=torch.tensor(sources, dtype=torch.int64),
        owners_N=torch.tensor(owners, dtype=torch.int64),
        positions_BT=torch.from_numpy(positions) if several else None,
        branches_BT=torch.from_numpy(branches) if several else None,
        types_BT=torch.from_numpy(types) if is_typed else None,
    )


def in_parts(prompts: Sequence[Sequence[Encoded]], most: int) -> Iterator[list[Sequence[Encoded]]]:
    """Whole prompts in their order, so many that they have at most `most` answers, but at least one."""
    part: list[Sequence[Encoded]] = []
    for mine in prompts:
        if part and sum(map(len, part)) + len(mine) > most:
            yield part
            part = []
        part.append(mine)
    if part:
        yield part


def collate(prompts: Sequence[Compared], pad: int, *, shared: int, at_once: int = ROWS_AT_ONCE) -> AnswerBatch:
    """Some prompts as a batch. Answers that no contest is about are left out."""
    kept, contests, reference = [], [], []
    first = 0
    for one in prompts:
        used = sorted({number for contest in one.contests for number in contest.answers})
        place = {number: first + index for index, number in enumerate(used)}
        kept.append([one.answers[number] for number in used])
        contests += [contest._replace(answers=tuple(place[n] for n in contest.answers)) for contest in one.contests]
        reference += [] if one.reference is None else [one.reference[number] for number in used]
        first += len(used)
    most = max(len(contest.answers) for contest in contests)
    numbers = [[*contest.answers, *[NOBODY] * (most - len(contest.answers))] for contest in contests]
    return AnswerBatch(
        parts=arrange(kept, pad, shared=shared, at_once=at_once),
        contests_SK=torch.tensor(numbers),
        weights_S=torch.tensor([contest.weight for contest in contests]),
        tied_S=torch.tensor([contest.tied for contest in contests]),
        margins_S=torch.tensor([contest.margin for contest in contests]),
        num_answers=first,
        reference_A=torch.tensor(reference) if reference else None,
    )


class ComparedLoader:
    """Batches of whole prompts. Each prompt comes once a pass, in an order drawn from (seed, pass)."""

    def __init__(
        self,
        prompts: Sequence[Compared],
        *,
        batch: int,
        pad: int,
        seed: int,
        shared: int,
        at_once: int = ROWS_AT_ONCE,
    ) -> None:
        self.prompts, self.seed = prompts, seed
        self.collate = partial(collate, pad=pad, shared=shared, at_once=at_once)
        self.batch_size = min(batch, len(prompts))
        self.order = lru_cache(maxsize=2)(self._order)

    @property
    def batches_per_epoch(self) -> float:
        return len(self.prompts) / self.batch_size

    def batch(self, step: int, first: int = 0, taken: int | None = None) -> AnswerBatch:
        """Batch number `step` of the endless order, or `taken` of its prompts from the `first` on."""
        count = len(self.prompts)
        places = range(step * self.batch_size, (step + 1) * self.batch_size)[first:][:taken]
        picked = [self.prompts[self.order(place // count)[place % count]] for place in places]
        return self.collate(picked)

    def read_by(self, steps: int) -> list[int]:
        """The places of the prompts that the first so many batches read."""
        count, places = len(self.prompts), range(steps * self.batch_size)
        return sorted({int(self.order(place // count)[place % count]) for place in places})

    def in_order(self, most: int) -> Iterator[AnswerBatch]:
        """The first `most` prompts as they come, in batches."""
        for first in range(0, min(most, len(self.prompts)), self.batch_size):
            last = min(first + self.batch_size, most)
            yield self.collate(self.prompts[first:last])

    def _order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng((self.seed, epoch)).permutation(len(self.prompts))
