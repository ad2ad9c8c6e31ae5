"""The answers of the OpenAI API: pieces of text with their log-probabilities become chunks and whole completions.

`Reply` knows the two shapes, chat and text; it knows nothing of HTTP or of where the pieces come from.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import uuid4

from dodam.generate.sequence import Logprob, Reason
from dodam.generate.text_stream import REPLACEMENT
from dodam.tokenizer.tokenizer import Tokenizer


class Piece(NamedTuple):
    """What one choice says next. `tokens` are the new ids with their log-probabilities, when those were asked for."""

    index: int
    text: str
    tokens: list[tuple[int, Logprob]]
    reason: Reason | None


@dataclass(frozen=True)
class Reply:
    """One answer: its name and time, which model, and in which of the two shapes."""

    model: str
    chat: bool
    tokenizer: Tokenizer
    created: int = field(default_factory=lambda: int(time.time()))
    key: str = field(default_factory=lambda: uuid4().hex)

    def envelope(self, choices: list[dict], *, streamed: bool) -> dict[str, Any]:
        kind = "chat.completion" + (".chunk" if streamed else "") if self.chat else "text_completion"
        id = f"{'chatcmpl' if self.chat else 'cmpl'}-{self.key}"
        return {"id": id, "object": kind, "created": self.created, "model": self.model, "choices": choices}

    def openings(self, num_choices: int) -> list[dict[str, Any]]:
        """The chunks before the first text: a chat names the role of each choice."""
        delta = {"role": "assistant", "content": ""}
        choices = [{"index": i, "delta": delta, "logprobs": None, "finish_reason": None} for i in range(num_choices)]
        return [self.envelope([choice], streamed=True) for choice in choices] if self.chat else []

    def chunk(self, piece: Piece) -> dict[str, Any]:
        """One piece of a streamed answer."""
        said = {"delta": {"content": piece.text} if piece.text else {}} if self.chat else {"text": piece.text}
        return self.envelope([self.choice(piece, said)], streamed=True)

    def usage_chunk(self, usage: dict[str, int]) -> dict[str, Any]:
        """The last chunk, when the usage was asked for."""
        return self.envelope([], streamed=True) | {"usage": usage}

    def whole(self, pieces: Iterable[Piece], usage: dict[str, int]) -> dict[str, Any]:
        """The answer at once: the pieces of each choice put together."""
        choices: dict[int, Piece] = {}
        for piece in pieces:
            index, text, tokens, _ = choices.get(piece.index, Piece(piece.index, "", [], None))
            choices[index] = Piece(index, text + piece.text, tokens + piece.tokens, piece.reason)
        made = []
        for _, piece in sorted(choices.items()):
            message = {"role": "assistant", "content": piece.text, "refusal": None}
            made.append(self.choice(piece, {"message": message} if self.chat else {"text": piece.text}))
        return self.envelope(made, streamed=False) | {"usage": usage}

    def choice(self, piece: Piece, said: dict[str, Any]) -> dict[str, Any]:
        logprobs = None
        if piece.tokens:
            logprobs = self.chat_logprobs(piece.tokens) if self.chat else self.text_logprobs(piece.tokens)
        return {"index": piece.index, **said, "logprobs": logprobs, "finish_reason": piece.reason}

    def chat_logprobs(self, tokens: list[tuple[int, Logprob]]) -> dict[str, Any]:
        def entry(id: int, value: float) -> dict[str, Any]:
            text = self.tokenizer.decode([id])
            known = None if REPLACEMENT in text else [*text.encode()]
            return {"token": self.tokenizer.piece(id), "logprob": finite(value), "bytes": known}

        entries = [
            entry(id, logprob.chosen) | {"top_logprobs": [entry(*pair) for pair in logprob.top]}
            for id, logprob in tokens
        ]
        return {"content": entries, "refusal": None}

    def text_logprobs(self, tokens: list[tuple[int, Logprob]]) -> dict[str, Any]:
        texts = [self.tokenizer.piece(id) for id, _ in tokens]
        return {
            "tokens": texts,
            "token_logprobs": [finite(logprob.chosen) for _, logprob in tokens],
            "top_logprobs": [self.by_text(logprob.top) for _, logprob in tokens],
            "text_offset": [sum(map(len, texts[:i])) for i in range(len(texts))],
        }

    def by_text(self, top: list[tuple[int, float]]) -> dict[str, float]:
        """The old shape names tokens by text only; of those that look alike the likeliest is told."""
        return {self.tokenizer.piece(id): finite(value) for id, value in reversed(top)}


def usage(num_prompt: int, num_completion: int) -> dict[str, int]:
    """OpenAI's count of tokens."""
    total = num_prompt + num_completion
    return {"prompt_tokens": num_prompt, "completion_tokens": num_completion, "total_tokens": total}


def finite(value: float) -> float:
    """JSON has no infinity: a token of no probability gets what OpenAI reports for it."""
    return max(value, -9999.0)
