"""Beam search: the likeliest targets of a source by an encoder-decoder, or continuations of a prompt by a decoder.

In come token ids, out come for each source or prompt its best hypotheses with their scores, best first. `Search` is the
search for one source, plain values without tensors; `search` runs many side by side on the model.

N sources that are not done, K beams, R = N K rows (one source's next to each other), T positions, V vocabulary.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from dodam.generate.sequence import Reason
from dodam.models.decoder import Decoder
from dodam.models.encoder_decoder import EncoderDecoder
from dodam.nn.cache import Cache
from dodam.nn.mask import padding_mask


@dataclass(frozen=True, kw_only=True)
class BeamParams:
    """How a search is done."""

    beams: int = 4
    """Hypotheses followed side by side, and how many come out; 1 takes the likeliest token each time (greedy)."""
    length_penalty: float = 1.0
    """A hypothesis is scored by its log-probability / length ** length_penalty, the end counted: 0 leaves the
    log-probability, 1 takes the mean of its tokens, more prefers longer ones. (Wu et al. 2016, eq. 14, divide by
    ((5 + length) / 6) ** penalty; this is the plain form, and that of `transformers`.)"""
    max_tokens: int = 256
    """Most tokens of a hypothesis; the model's context may end it sooner."""
    stop: Literal["full", "likely", "certain"] = "likely"
    """When a search is over: `full` once `beams` hypotheses have ended; `likely` when besides the best running one
    would not be among the best if it ended now; `certain` when it cannot be, however it goes on. (In `transformers`:
    early_stopping True, False, "never".)"""
    never: tuple[int, ...] = ()
    """Ids that are never written, such as that of padding."""

    def __post_init__(self) -> None:
        for name, fits, needs in (
            ("beams", self.beams >= 1, "at least 1"),
            ("length_penalty", abs(self.length_penalty) < float("inf"), "a finite number"),
            ("max_tokens", self.max_tokens >= 1, "at least 1"),
            ("stop", self.stop in ("full", "likely", "certain"), "full, likely or certain"),
        ):
            if not fits:
                raise ValueError(f"{name} must be {needs}, not {getattr(self, name)!r}")


class Hypothesis(NamedTuple):
    """A finished text: its ids without the one that ended it, and what it is worth."""

    ids: list[int]
    score: float
    logprob: float
    reason: Reason


class Candidate(NamedTuple):
    """One more token for one running hypothesis, and the log-probability of the whole."""

    logprob: float
    beam: int
    id: int


class Running(NamedTuple):
    """A hypothesis that may go on, and which one it was a token ago."""

    logprob: float
    ids: list[int]
    beam: int


class Search:
    """The search for one source. `running` is best first; `ended` holds the best `beams` so far, best first."""

    def __init__(self, params: BeamParams, stop_ids: frozenset[int], limit: int) -> None:
        self.params, self.stop_ids, self.limit = params, stop_ids, limit
        self.running = [Running(0.0, [], 0)]
        self.ended: list[Hypothesis] = []
        self.length = 0

    def advance(self, candidates: Iterable[Candidate]) -> None:
        """Go one token further, with the best candidates of all running hypotheses, best first: as many as there are
        beams, once more for each stop id, so that enough can go on whoever ends."""
        self.length += 1
        running: list[Running] = []
        for rank, (logprob, beam, id) in enumerate(candidates):
            ids = self.running[beam].ids
            if id in self.stop_ids:
                self.end(rank, ids, logprob, "stop")
            elif self.length == self.limit:
                self.end(rank, [*ids, id], logprob, "length")
            elif len(running) < self.params.beams:
                running.append(Running(logprob, [*ids, id], beam))
        self.running = running

    def end(self, rank: int, ids: list[int], logprob: float, reason: Reason) -> None:
        """Keep an ended hypothesis if it is among the best. One that was not among the best `beams` candidates would
        not have been followed either, and may not end."""
        if rank < self.params.beams:
            score = logprob / self.length**self.params.length_penalty
            self.ended.append(Hypothesis(ids, score, logprob, reason))
            self.ended.sort(key=lambda one: -one.score)
            del self.ended[self.params.beams :]

    @property
    def over(self) -> bool:
        """Whether there is nothing left to go on with, or nothing to win by it (see `BeamParams.stop`)."""
        if not self.running:
            return True
        if len(self.ended) < self.params.beams:
            return False
        if self.params.stop == "full":
            return True
        # A log-probability only falls; under a penalty that favours length it can be divided by no more than this.
        longest = self.params.stop == "certain" and self.params.length_penalty > 0
        length = self.limit if longest else self.length
        return self.running[0].logprob / length**self.params.length_penalty <= self.ended[-1].score


class PromptReader:
    """Reads with a decoder: a prompt is in the cache like everything after it."""

    def __init__(self, model: Decoder) -> None:
        self.model = model

    def read(self, ids_RT: Tensor, cache: Cache, starts_R: Tensor) -> Tensor:
        """Hidden states of the next tokens of every row, which stand at starts_R.. of the cache."""
        return self.model(ids_RT, cache=cache, starts_B=starts_R)

    def keep(self, sources_N: Tensor) -> None:
        """Only these prompts go on, in this order: all that is known of them is in the cache."""


class SourceReader:
    """Reads with an encoder-decoder: sources are encoded once, and all beams of one look at the same memory."""

    def __init__(self, model: EncoderDecoder, sources: Sequence[Sequence[int]]) -> None:
        device = model.embedding.weight.device
        ids_NS, lengths_N = padded(sources, device)
        self.model = model
        self.real_NS = torch.arange(ids_NS.shape[1], device=device) < lengths_N[:, None]
        self.mask = padding_mask(self.real_NS)
        self.memory = model.remember(model.encode(ids_NS, self.mask))

    def read(self, ids_RT: Tensor, cache: Cache, starts_R: Tensor) -> Tensor:
        return self.model.decode(ids_RT, self.memory, self.mask, cache=cache, starts_R=starts_R)

    def keep(self, sources_N: Tensor) -> None:
        self.real_NS = self.real_NS[sources_N]
        self.mask = padding_mask(self.real_NS)
        self.memory = [(keys[sources_N], values[sources_N]) for keys, values in self.memory]


def beam_search(
    model: EncoderDecoder,
    sources: Sequence[Sequence[int]],
    params: BeamParams,
    *,
    stop_ids: Iterable[int],
    max_rows: int = 128,
) -> list[list[Hypothesis]]:
    """The best targets of every source, best first: `beams` of them, fewer only where there are no more.

    A source's targets do not depend on which others there are. `max_rows`: rows (sources times beams) the model runs at
    a time. ValueError for a source that is empty or longer than the model's context."""
    fitting(sources, model.config.context)
    start = [model.config.start_id]

    def run(indices: list[int]) -> list[list[Hypothesis]]:
        reader = SourceReader(model, [sources[index] for index in indices])
        return search(reader, [start] * len(indices), params, frozenset(stop_ids))

    return in_groups(run, sources, max_rows // params.beams)


def beam_continue(
    model: Decoder,
    prompts: Sequence[Sequence[int]],
    params: BeamParams,
    *,
    stop_ids: Iterable[int],
    max_rows: int = 128,
) -> list[list[Hypothesis]]:
    """The same for the continuations of prompts; their length counts without the prompt."""
    fitting(prompts, model.config.context)

    def run(indices: list[int]) -> list[list[Hypothesis]]:
        return search(PromptReader(model), [prompts[index] for index in indices], params, frozenset(stop_ids))

    return in_groups(run, prompts, max_rows // params.beams)


def fitting(sources: Sequence[Sequence[int]], context: int) -> None:
    for index, ids in enumerate(sources):
        if not 1 <= len(ids) <= context:
            raise ValueError(f"source {index} must have from 1 to {context} tokens, not {len(ids)}")


def in_groups(
    run: Callable[[list[int]], list[list[Hypothesis]]], sources: Sequence[Sequence[int]], size: int
) -> list[list[Hypothesis]]:
    """Run groups of similar length, the longest first, so that little is padded; results in the sources' order."""
    order = sorted(range(len(sources)), key=lambda index: -len(sources[index]))
    results: list[list[Hypothesis]] = [[] for _ in sources]
    for first in range(0, len(order), max(1, size)):
        indices = order[first : first + max(1, size)]
        for index, found in zip(indices, run(indices), strict=True):
            results[index] = found
    return results


def padded(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Rows of ids filled up on the right, and their lengths."""
    longest = max(len(row) for row in rows)
    ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], device=device)
    return ids, torch.tensor([len(row) for row in rows], device=device)


@torch.inference_mode()
def search(
    reader: PromptReader | SourceReader, prompts: Sequence[Sequence[int]], params: BeamParams, stop_ids: frozenset[int]
) -> list[list[Hypothesis]]:
    """Search from all prompts side by side; sources that are over leave."""
    model, beams = reader.model, params.beams
    weight, context = model.embedding.weight, model.config.context
    # The last token is never read, so it needs no position.
    searches = [Search(params, stop_ids, min(params.max_tokens, context + 1 - len(prompt))) for prompt in prompts]
    capacity = max(len(prompt) + one.limit for prompt, one in zip(prompts, searches, strict=True)) - 1
    cache = Cache.empty(model.config, len(prompts) * beams, capacity, weight.dtype, weight.device)
    ids_NT, lengths_N = padded(prompts, weight.device)
    hidden_NTD = reader.read(ids_NT, cache.rows(0, len(prompts)), torch.zeros_like(lengths_N))
    hidden_RD = hidden_NTD[torch.arange(len(prompts), device=weight.device), lengths_N - 1]
    running = searches
    while True:
        found = best_candidates(model, hidden_RD, running, params, stop_ids)
        for one, candidates in zip(running, found, strict=True):
            one.advance(candidates)
        stay = [index for index, one in enumerate(running) if not one.over]
        if not stay:
            return [one.ended for one in searches]
        rows = hidden_RD.shape[0] // len(running)
        origins = [index * rows + one.beam for index in stay for one in beams_of(running[index], beams)]
        if len(stay) < len(running):
            kept_N = torch.tensor(stay, device=weight.device)
            reader.keep(kept_N)
            lengths_N, running = lengths_N[kept_N], [running[index] for index in stay]
        starts_R = lengths_N.repeat_interleave(beams) + running[0].length - 1
        cache.reorder(torch.tensor(origins, device=weight.device), int(starts_R.max()))
        ids_R1 = torch.tensor([[b.ids[-1]] for one in running for b in beams_of(one, beams)], device=weight.device)
        hidden_RD = reader.read(ids_R1, cache.rows(0, len(origins)), starts_R)[:, 0]


def beams_of(search: Search, beams: int) -> list[Running]:
    """What runs, filled up to `beams` with what cannot be chosen."""
    first = search.running[0]
    return search.running + [first._replace(logprob=float("-inf"))] * (beams - len(search.running))


def best_candidates(
    model: Decoder | EncoderDecoder,
    hidden_RD: Tensor,
    running: list[Search],
    params: BeamParams,
    stop_ids: frozenset[int],
) -> list[list[Candidate]]:
    """For each search the best ways to go on, best first."""
    rows = hidden_RD.shape[0] // len(running)
    logprobs_RV = model.head(hidden_RD).float().log_softmax(-1)
    logprobs_RV[:, list(params.never)] = float("-inf")
    so_far = [[one.logprob for one in beams_of(search, rows)] for search in running]
    so_far_NK1 = torch.tensor(so_far, device=hidden_RD.device)[..., None]
    totals_NX = (logprobs_RV.view(len(running), rows, -1) + so_far_NK1).flatten(1)
    count = min(params.beams * (1 + len(stop_ids)), totals_NX.shape[1])
    totals, places = totals_NX.topk(count)
    num_ids = logprobs_RV.shape[-1]
    return [
        [
            Candidate(value, place // num_ids, place % num_ids)
            for value, place in zip(values, indices, strict=True)
            if value > float("-inf")
        ]
        for values, indices in zip(totals.tolist(), places.tolist(), strict=True)
    ]
