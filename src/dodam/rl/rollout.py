"""Rollouts: prompts answered by the policy as it is now, through the engine, and put into batches to learn from.

In come a model, prompts and seeds; out come answers as ids, ends included, and `RolloutBatch`es. A rollout is a
function of (weights, prompts, seeds): one that was lost with a killed run is had again. A tokens of the longest answer,
B rows, T positions.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dodam.data.batch import IGNORED
from dodam.data.text import clean
from dodam.generate.engine import Engine
from dodam.generate.packed import Packed, may_pack
from dodam.generate.sequence import SamplingParams
from dodam.train.policy import RolloutBatch

if TYPE_CHECKING:
    from dodam.rl.prompts import Prompt
    from dodam.tokenizer.tokenizer import Tokenizer

MAX_ROWS = 128  # answers that are written side by side
PACKED_UP_TO = 1_000_000_000  # parameters of a model that is copied for drawing
SHARED = 1024  # tokens of a row in which answers share their prompt; longer ones spend more on attention than they save
LEAST_FILL = 0.75  # rows share a microbatch when the shortest has this share of the longest
AT_ONCE = 4096  # tokens of a microbatch, where --microbatch does not say how many answers


@dataclass(frozen=True)
class Written:
    """An answer: its ids, the token that ended it among them, whether there is one, and where they were asked for the
    log-probabilities its tokens were drawn with."""

    ids: list[int]
    ended: bool
    logprobs: list[float]


@dataclass(frozen=True)
class Answer:
    """What was written to a prompt, also as text."""

    prompt: "Prompt"
    ids: list[int]
    ended: bool
    text: str


def seed_of(*parts: int) -> int:
    """A seed of its own for every (seed, rollout, place)."""
    text = " ".join(map(str, parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


@contextmanager
def at_rest(model: nn.Module) -> Iterator[None]:
    """Within, the model does not train: nothing is dropped, no gradients."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)


def write(
    model: Any,
    prompts: Sequence[Sequence[int]],
    seeds: Sequence[int],
    *,
    stop_ids: Sequence[int],
    max_tokens: int,
    temperature: float,
    logprobs: bool = False,
    max_rows: int = MAX_ROWS,
    dtype: torch.dtype = torch.float32,
) -> list[Written]:
    """Answer every prompt, each with its own seed, by the model's distribution at a temperature (0: its likeliest
    tokens) and nothing cut off it. `logprobs` are by the model itself, so they are asked for at temperature 1.
    `dtype`: what matrices multiply in, where the model may be packed; else they do in the weights' own."""
    assert not logprobs or temperature == 1.0, "the engine tells log-probabilities at temperature 1"
    longest = max(map(len, prompts)) + max_tokens
    # The engine is told of no stop ids: which of them ended an answer has to be known, as it is learned from.
    small = may_pack(model) and sum(parameter.numel() for parameter in model.parameters()) <= PACKED_UP_TO
    drawn_from = Packed(model, dtype) if small else model
    engine = Engine(drawn_from, stop_ids=(), max_rows=max(1, min(max_rows, len(prompts))), context=longest)
    found = [Written([], False, []) for _ in prompts]
    index_of: dict[int, int] = {}
    with at_rest(model):
        # Longest first: neighbours in the queue are of like length, so that little is padded.
        for index in sorted(range(len(prompts)), key=lambda i: len(prompts[i]), reverse=True):
            params = SamplingParams(
                max_tokens=max_tokens, temperature=temperature, seed=seeds[index], logprobs=0 if logprobs else None
            )
            index_of[engine.add(prompts[index], params)] = index
        while engine.busy:
            for event in engine.step():
                index, written = index_of[event.request], found[index_of[event.request]]
                assert event.id is not None, "without stop ids every event has a token"
                written.ids.append(event.id)
                if event.logprob is not None:
                    written.logprobs.append(event.logprob.chosen)
                if event.id in stop_ids:
                    found[index] = Written(written.ids, True, written.logprobs)
                    engine.cancel(event.request)
    return found


def answers_to(
    model: Any,
    tokenizer: "Tokenizer",
    prompts: Sequence["Prompt"],
    seeds: Sequence[int],
    *,
    stop_ids: Sequence[int],
    max_tokens: int,
    temperature: float,
    dtype: torch.dtype = torch.float32,
) -> list[Answer]:
    """`write` for prompts, with the texts of the answers, cleaned as every text is that is learned from."""
    if not prompts:
        return []
    written = write(
        model, [one.ids for one in prompts], seeds, stop_ids=stop_ids, max_tokens=max_tokens, temperature=temperature,
        dtype=dtype,
    )  # fmt: skip
    return [
        Answer(prompt, one.ids, one.ended, clean(tokenizer.decode(one.ids[:-1] if one.ended else one.ids)))
        for prompt, one in zip(prompts, written, strict=True)
    ]


def real_tokens(answers: Sequence[Answer]) -> Tensor:
    """[B, A]: True where an answer has a token."""
    lengths_B = torch.tensor([len(one.ids) for one in answers])
    return torch.arange(int(lengths_B.max())) < lengths_B[:, None]


def bundles_of(answers: Sequence[Answer], rows: Iterable[int], most: int | None, *, share: bool) -> list[list[int]]:
    """Rows whose answers stand side by side behind one prompt: at most `most` of them, and no more than SHARED tokens.
    Without `share` each by itself."""
    bundles: list[list[int]] = []
    of_prompt: dict[int, list[int]] = {}
    for row in rows:
        mine = of_prompt.get(id(answers[row].prompt))
        size = len(answers[row].ids) + (length_of(answers, mine) if mine else 0)
        if mine is None or not share or len(mine) == most or size > SHARED:
            mine = of_prompt[id(answers[row].prompt)] = []
            bundles.append(mine)
        mine.append(row)
    return bundles


def length_of(answers: Sequence[Answer], bundle: Sequence[int]) -> int:
    """Tokens of a prompt and the answers behind it."""
    return len(answers[bundle[0]].prompt.ids) + sum(len(answers[row].ids) for row in bundle)


def groups_of(
    answers: Sequence[Answer], rows: Iterable[int], most: int | None, *, share: bool = True
) -> list[list[list[int]]]:
    """Microbatches of bundles, longest first: at most `most` answers in each, or as many bundles as pad little."""
    groups: list[list[list[int]]] = []
    lengths: dict[int, int] = {}
    bundles = bundles_of(answers, rows, most, share=share)
    for bundle in sorted(bundles, key=lambda one: (-length_of(answers, one), one[0])):
        length = length_of(answers, bundle)
        if groups and most is not None:
            fits = sum(map(len, groups[-1])) + len(bundle) <= most
        else:
            longest = lengths.get(len(groups) - 1, 0)
            fits = length >= LEAST_FILL * longest and longest * (len(groups[-1]) + 1 if groups else 1) <= AT_ONCE
        if not groups or not fits:
            groups.append([])
            lengths[len(groups) - 1] = length
        groups[-1].append(bundle)
    return groups


def places_of(answers: Sequence[Answer], bundle: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Each row of a bundle and where its first token is predicted."""
    place = len(answers[bundle[0]].prompt.ids) - 1
    for row in bundle:
        yield row, place
        place += len(answers[row].ids)


def batch_of(
    answers: Sequence[Answer], bundles: Sequence[Sequence[int]], pad: int, **of_tokens: Tensor | None
) -> RolloutBatch:
    """Bundles side by side, each a row. `of_tokens`: tensors [all answers, A] by their name in `RolloutBatch` without
    its shape; `advantages` are zeros where there are none yet."""
    B, T = len(bundles), max(length_of(answers, bundle) for bundle in bundles) - 1
    ids_BT, labels_BT = torch.full((B, T), pad), torch.full((B, T), IGNORED)
    positions_BT, branches_BT = torch.zeros(B, T, dtype=torch.long), torch.zeros(B, T, dtype=torch.long)
    lengths_BT = torch.ones(B, T)
    placed = {f"{name}_BT": torch.zeros(B, T) for name, values in of_tokens.items() if values is not None}
    placed.setdefault("advantages_BT", torch.zeros(B, T))
    for b, bundle in enumerate(bundles):
        prompt = answers[bundle[0]].prompt.ids
        ids_BT[b, : len(prompt) - 1] = torch.tensor(prompt[:-1])
        positions_BT[b, : len(prompt) - 1] = torch.arange(len(prompt) - 1)
        for number, (row, first) in enumerate(places_of(answers, bundle), start=1):
            whole = torch.tensor([prompt[-1], *answers[row].ids])
            here = slice(first, first + len(whole) - 1)
            ids_BT[b, here], labels_BT[b, here] = whole[:-1], whole[1:]
            positions_BT[b, here] = torch.arange(len(whole) - 1) + len(prompt) - 1
            branches_BT[b, here], lengths_BT[b, here] = number, len(whole) - 1
            for name, values in of_tokens.items():
                if values is not None:
                    placed[f"{name}_BT"][b, here] = values[row, : len(whole) - 1]
    if all(len(bundle) == 1 for bundle in bundles):  # rows as everywhere: the plain causal mask is faster
        return RolloutBatch(ids_BT, labels_BT, **placed)
    shared = {"positions_BT": positions_BT, "branches_BT": branches_BT, "lengths_BT": lengths_BT}
    return RolloutBatch(ids_BT, labels_BT, **placed, **shared)


def of_answers(values_BT: Tensor, answers: Sequence[Answer], bundles: Sequence[Sequence[int]], into_BA: Tensor) -> None:
    """Write what was computed of a batch [B, T] into the tensor of all answers [all answers, A]."""
    for b, bundle in enumerate(bundles):
        for row, first in places_of(answers, bundle):
            count = len(answers[row].ids)
            into_BA[row, :count] = values_BT[b, first : first + count].to(into_BA.device)
