"""The command `chat`: a conversation with a tuned model in the terminal, its answers written as they come.

Lines from standard input come in, answers go to standard output, everything else to standard error.
"""

import contextlib
import json
import sys
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from dodam.data.text import clean
from dodam.errors import UsageError
from dodam.generate.generate import Sampling, open_engine, open_model, pieces

if TYPE_CHECKING:
    from dodam.folder import LoadedModel
    from dodam.tokenizer.tokenizer import Tokenizer

HELP = """/reset       forget the conversation
/save FILE   add the conversation to a JSONL file (`dodam sft --data FILE` reads it)
/help        this list
Ctrl-C       stop an answer
Ctrl-D       leave"""


@dataclass(frozen=True, kw_only=True)
class Chat(Sampling):
    """Talk to a tuned model. /help lists what can be typed, Ctrl-C stops an answer, Ctrl-D leaves."""

    positional: ClassVar[tuple[str, ...]] = ("model",)

    model: Path
    """A model folder or a run folder of a tuned model."""
    system: str = ""
    """An instruction that stands before the conversation."""


def run(config: Chat) -> dict:
    """Talk until the input ends; return `{"model", "messages"}`, the conversation as it stood at the end."""
    loaded = open_model(config.model, config.device)
    require_template(loaded)
    conversation = Conversation(loaded, config)
    note(f"{config.model} · /help · Ctrl-D to leave")
    while (line := read_line()) is not None:
        if line.startswith("/"):
            obey(line, conversation)
        elif line:
            answer(line, conversation)
    return {"model": str(config.model), "messages": conversation.messages}


def require_template(loaded: "LoadedModel") -> None:
    """UsageError for a base model: it was never taught to answer."""
    if loaded.tokenizer.chat_template is None:
        mend = f"Continue a text with `dodam generate {loaded.path} TEXT`, or tune it first with `dodam sft`."
        raise UsageError("this is a base model, it has no chat template", where=str(loaded.path), mend=mend)


@dataclass
class Conversation:
    """The messages so far and the model that goes on with them."""

    loaded: "LoadedModel"
    config: Chat
    messages: list[dict[str, str]] = field(default_factory=list)
    num_answers: int = 0

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.messages = [{"role": "system", "content": clean(self.config.system)}] if self.config.system else []

    def reply(self, text: str) -> Generator[str]:
        """The answer to a message, piece by piece. What was said by then is kept, also when the reader stops early.

        UsageError when the message alone is too long for the context."""
        from dodam.generate.engine import Answer

        context = self.loaded.model.config.context
        room = min(self.config.max_tokens, max(1, context // 4))
        messages = [*self.messages, {"role": "user", "content": text}]
        messages, ids, num_dropped = fit(self.loaded.tokenizer, messages, context - room)
        if num_dropped:
            note(f"(the context of {context} tokens is full: the oldest {num_dropped} messages were dropped)")
        answer = Answer(self.config.params(self.num_answers), self.loaded.tokenizer, chat=True)
        self.num_answers += 1
        # A new engine each time: one that Ctrl-C interrupted in the middle of a step is never used again.
        engine = open_engine(self.loaded, rows=1, longest=len(ids) + self.config.max_tokens)
        request = engine.add(ids, answer.params)
        try:
            for _, piece in pieces(engine, {request: answer}):
                yield piece
        finally:
            if answer.text:
                self.messages = [*messages, {"role": "assistant", "content": answer.text}]


def fit(
    tokenizer: "Tokenizer", messages: list[dict[str, str]], most: int
) -> tuple[list[dict[str, str]], list[int], int]:
    """Drop the oldest turns (a question and its answer) until the prompt has at most `most` tokens.

    Returns what is left, its ids and how many messages were dropped. A system message stays. UsageError when the last
    message alone is too long."""
    from dodam.data.conversation import encode

    first = 1 if messages[0]["role"] == "system" else 0
    kept = messages
    while len(ids := encode(tokenizer, kept, generation_prompt=True).ids) > most:
        if len(kept) <= first + 1:
            raise UsageError(f"the message has {len(ids)} tokens, there is room for {most}", mend="Shorten it.")
        kept = kept[:first] + kept[first + 2 :]
    return kept, ids, len(messages) - len(kept)


def answer(line: str, conversation: Conversation) -> None:
    """Write the answer as it comes; Ctrl-C ends it."""
    reply = conversation.reply(line)
    said = ""
    try:
        for piece in reply:
            print(piece, end="", flush=True)
            said += piece
        print(flush=True)
        if not said:
            note("(an empty answer)")
    except KeyboardInterrupt:
        reply.close()
        print(flush=True)
        note("(stopped)")
    except UsageError as error:
        note(str(error))


def obey(line: str, conversation: Conversation) -> None:
    """A line that begins with a slash."""
    command, _, argument = line.partition(" ")
    match command:
        case "/reset":
            conversation.reset()
            note("(a new conversation)")
        case "/save" if not argument.strip():
            note("/save needs the name of a file: /save FILE")
        case "/save":
            save(Path(argument.strip()).expanduser(), conversation.messages)
        case "/help":
            note(HELP)
        case _:
            note(f"{line} is not a command.\n{HELP}")


def save(path: Path, messages: list[dict[str, str]]) -> None:
    """Add the conversation as one line; what the file held stays. Before the first answer nothing is written."""
    if not any(message["role"] == "assistant" for message in messages):
        return note("(nothing to save yet)")
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"messages": messages}, ensure_ascii=False) + "\n")
    except OSError as error:
        note(f"{path}: cannot be written ({error.strerror})")
    else:
        note(f"(saved to {path})")


def read_line() -> str | None:
    """The next line, None at the end of the input. Ctrl-C clears the line."""
    if sys.stdin.isatty():
        with contextlib.suppress(ImportError):  # not on Windows
            import readline  # noqa: F401  (gives input() editing and history)
    while True:
        try:
            return clean(input("> " if sys.stdin.isatty() else ""))
        except EOFError:
            return None
        except KeyboardInterrupt:
            note("\n(Ctrl-D leaves)")


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
