"""From ids to pieces of text that can be shown at once: no broken Hangul syllable or emoji, no half of a stop text.

One id comes in at a time; out goes the text that is certain by now. Special tokens have no text.
"""

from typing import Protocol

REPLACEMENT = "\ufffd"
# A UTF-8 character has at most 4 bytes and a token at least one, so these hold any unfinished character.
TAIL = 4


class Decodes(Protocol):
    """What is needed of a tokenizer: ids to text, bytes that are no UTF-8 as U+FFFD."""

    def decode(self, ids: list[int]) -> str: ...


def held_back(text: str, stops: tuple[str, ...]) -> int:
    """How many characters at the end of `text` may be the beginning of a stop text."""
    longest = min(len(text), max(map(len, stops), default=1) - 1)
    return next((n for n in range(longest, 0, -1) if any(stop.startswith(text[-n:]) for stop in stops)), 0)


class TextStream:
    """The text of one answer, piece by piece. After a stop text `stopped` is True and nothing more comes."""

    def __init__(self, tokenizer: Decodes, stop: tuple[str, ...] = (), *, chat: bool = False) -> None:
        """`chat`: the space between the chat template's `<|assistant|>` and an answer's first word is not given out."""
        self.tokenizer, self.stop, self.skip_space = tokenizer, stop, chat
        self.stopped = False
        self.pending: list[int] = []
        self.num_given = 0
        self.held = ""

    def push(self, id: int) -> str:
        """The text that this id completes; "" while a character or a stop text is unfinished."""
        piece = self.decode(id)
        if self.skip_space and piece:
            self.skip_space = False
            piece = piece.removeprefix(" ")
        return self.release(piece)

    def finish(self) -> str:
        """What was held back for a stop text that never came. An unfinished character is dropped."""
        piece, self.held = self.held, ""
        return piece

    def decode(self, id: int) -> str:
        """Whole characters only: text that ends in U+FFFD may go on in the next token, so its end stays pending."""
        self.pending.append(id)
        text = self.tokenizer.decode(self.pending)
        if not text.endswith(REPLACEMENT):
            piece = text[self.num_given :]
            self.pending, self.num_given = [], 0
            return piece
        piece = text[self.num_given : -1]
        self.num_given = len(text) - 1
        tail = self.pending[-TAIL:]
        if len(self.pending) > 2 * TAIL and (text := self.tokenizer.decode(tail)).endswith(REPLACEMENT):
            self.pending, self.num_given = tail, len(text) - 1
        return piece

    def release(self, piece: str) -> str:
        """Let through what cannot be part of a stop text; end at the first one that is whole."""
        if self.stopped or not self.stop:
            return "" if self.stopped else piece
        text = self.held + piece
        found = [at for at in (text.find(stop) for stop in self.stop) if at >= 0]
        if found:
            self.stopped, self.held = True, ""
            return text[: min(found)]
        sure = len(text) - held_back(text, self.stop)
        self.held = text[sure:]
        return text[:sure]
