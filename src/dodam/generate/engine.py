"""The engine: requests of token ids come in, one event per new token goes out. No text, no HTTP, no asyncio.

`Engine` runs many requests side by side (continuous batching: a new one starts as soon as a row is free).
`generate` answers a list of prompts with it. One thread owns an engine.
"""

import secrets
from collections.abc import Iterable
from collections.abc import Sequence as List
from dataclasses import replace

from dodam.generate.packed import Packed
from dodam.generate.runner import Choice, Runner
from dodam.generate.scheduler import Scheduler
from dodam.generate.sequence import Event, Logprob, Output, Reason, SamplingParams, Sequence
from dodam.generate.text_stream import TextStream
from dodam.models.decoder import Decoder
from dodam.tokenizer.tokenizer import Tokenizer


class Engine:
    """Add requests, then step until nothing is busy. A request's answer does not depend on who runs beside it."""

    def __init__(
        self,
        model: Decoder | Packed,
        *,
        stop_ids: Iterable[int],
        pad_id: int = 0,
        max_rows: int = 64,
        context: int | None = None,
    ) -> None:
        """`context`: most positions of a prompt and its answer together; without it the model's own."""
        self.context = model.config.context if context is None else min(context, model.config.context)
        self.stop_ids = frozenset(stop_ids)
        self.scheduler = Scheduler(max_rows)
        self.runner = Runner(model, rows=max_rows, context=self.context, pad_id=pad_id)
        self.sequences: dict[int, Sequence] = {}
        self.num_added = 0

    @property
    def busy(self) -> bool:
        return bool(self.sequences)

    def add(self, ids: List[int], params: SamplingParams) -> int:
        """Queue a prompt; the number that its events carry. ValueError for one that is empty or fills the context."""
        if not 1 <= len(ids) < self.context:
            raise ValueError(f"a prompt must have from 1 to {self.context - 1} tokens, not {len(ids)}")
        seed = secrets.randbits(64) if params.seed is None else params.seed
        limit = min(params.max_tokens, self.context - len(ids))
        request, self.num_added = self.num_added, self.num_added + 1
        self.sequences[request] = Sequence(request, list(ids), params, seed, limit)
        self.scheduler.add(self.sequences[request])
        return request

    def step(self) -> list[Event]:
        """Start the requests there is room for, or else take everyone who runs one token further."""
        if groups := self.scheduler.admit():
            # All are read before any is told: one that ends with its first token has the last row moved into its own.
            choices = [self.runner.prefill(group) for group in groups]
            return [event for group, its in zip(groups, choices, strict=True) for event in self.advance(group, its)]
        if running := list(self.scheduler.running):
            return self.advance(running, self.runner.decode(running))
        return []

    def cancel(self, request: int) -> None:
        """Drop a request, waiting or running; no more events of it. One that has ended is left alone."""
        if request in self.sequences:
            self.leave([self.sequences[request]])

    def advance(self, sequences: List[Sequence], choices: List[Choice]) -> list[Event]:
        """Append each choice to its sequence; take out those that have ended."""
        events, ended = [], []
        for sequence, (id, logprob) in zip(sequences, choices, strict=True):
            reason: Reason | None = None
            if id in self.stop_ids:
                id, reason = None, "stop"
            else:
                sequence.generated.append(id)
                if len(sequence.generated) >= sequence.limit:
                    reason = "length"
            if reason is not None:
                ended.append(sequence)
            events.append(Event(sequence.request, id, reason, logprob))
        self.leave(ended)
        return events

    def leave(self, sequences: List[Sequence]) -> None:
        # From the last row down, so that a row is filled from one that stays.
        for sequence in sorted(sequences, key=lambda s: s.row, reverse=True):
            del self.sequences[sequence.request]
            if move := self.scheduler.leave(sequence):
                self.runner.move(*move)


class Answer:
    """What one request has said so far: ids, log-probabilities and, with a tokenizer, text up to a stop text.

    `chat`: it answers through the chat template, see `TextStream`."""

    def __init__(self, params: SamplingParams, tokenizer: Tokenizer | None, *, chat: bool = False) -> None:
        self.params = params
        self.ids: list[int] = []
        self.logprobs: list[Logprob] = []
        self.text = ""
        self.reason: Reason | None = None
        self.stream = None if tokenizer is None else TextStream(tokenizer, params.stop, chat=chat)

    def take(self, event: Event) -> str:
        """Add one event; the text that it completes. `reason` is set once the answer has ended."""
        if event.id is not None:
            self.ids.append(event.id)
            if event.logprob is not None:
                self.logprobs.append(event.logprob)
        self.reason = event.reason
        if self.stream is None:
            return ""
        piece = "" if event.id is None else self.stream.push(event.id)
        if self.reason is not None and not self.stream.stopped:
            piece += self.stream.finish()
        if self.stream.stopped:
            self.reason = "stop"
        self.text += piece
        return piece

    def output(self) -> Output:
        assert self.reason is not None, "the answer has not ended"
        return Output(self.ids, self.reason, self.logprobs, self.text)


def generate(
    model: Decoder,
    prompts: List[List[int]],
    params: SamplingParams | List[SamplingParams],
    *,
    stop_ids: Iterable[int],
    tokenizer: Tokenizer | None = None,
    max_rows: int = 64,
) -> list[Output]:
    """Answer every prompt; outputs in the prompts' order.

    params: the same for all, or one per prompt. With the same, prompt i samples with `seed + i`.
    tokenizer: fills `Output.text`; needed for stop texts.
    A prompt that leaves no room in the model's context is answered by nothing, with the reason "length"."""
    if isinstance(params, SamplingParams):
        seeds = [None if params.seed is None else params.seed + i for i in range(len(prompts))]
        params = [replace(params, seed=seed) for seed in seeds]
    if tokenizer is None and any(p.stop for p in params):
        raise ValueError("stop texts need a tokenizer")
    longest = max((len(ids) + p.max_tokens for ids, p in zip(prompts, params, strict=True)), default=1)
    engine = Engine(model, stop_ids=stop_ids, max_rows=max(1, min(max_rows, len(prompts))), context=longest)
    answers = [Answer(p, tokenizer) for p in params]
    index_of = {}
    # Longest first: neighbours in the queue are of similar length, so little is padded and rows stay equally long.
    for index in sorted(range(len(prompts)), key=lambda i: len(prompts[i]), reverse=True):
        if len(prompts[index]) >= engine.context:
            answers[index].reason = "length"
        else:
            index_of[engine.add(prompts[index], params[index])] = index
    while engine.busy:
        for event in engine.step():
            answer = answers[index_of[event.request]]
            answer.take(event)
            if answer.reason is not None:
                engine.cancel(event.request)
    return [answer.output() for answer in answers]
