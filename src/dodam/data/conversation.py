"""Conversations: found in rows of any known format, checked, and turned into ids by the chat template.

In: files of chat messages (OpenAI, ShareGPT), of instructions (Alpaca, Dolly) or of questions and answers. Out:
`Conversation`s, and their ids with a flag for every token that is learned. `sft`, `chat` and `serve` all encode here.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dodam.data.skipped import OR_SKIP, Skipped
from dodam.data.sources import SAMPLE, read_rows
from dodam.data.text import clean
from dodam.errors import DataError, UsageError

if TYPE_CHECKING:
    from jinja2 import Template

    from dodam.feedback.store import Store
    from dodam.tokenizer.tokenizer import Tokenizer

Messages = list[dict[str, str]]

CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message['role'] not in ['system', 'user', 'assistant'] %}"
    "{{ raise_exception('the role ' + message['role'] + ' is not known') }}"
    "{% endif %}"
    "{{ '<|' + message['role'] + '|>' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ ' ' + message['content'] + '<|end|>' }}{% endgeneration %}"
    "{% else %}"
    "{{ ' ' + message['content'] + '<|end|>' }}"
    "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
"""The chat template in Hugging Face's form; what stands between the `generation` marks is learned."""

PLAIN_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ '### ' + message['role'] + '\\n' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}{{ '\\n' }}"
    "{% else %}"
    "{{ message['content'] + '\\n\\n' }}"
    "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '### assistant\\n' }}{% endif %}"
)
"""The chat template of an imported model that has none and knows no token for a role."""

ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter", "사람", "사용자"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "model", "챗봇"), "assistant"),
}
"""The names formats give the roles."""

NAME = "도담"
"""What the assistant of the bundled conversations is called, where nothing else is said."""

LISTS = ("messages", "conversations", "conversation")
PROMPTS = ("prompt", "instruction", "question", "query", "q", "질문")
CONTEXTS = ("input", "context")
TARGETS = ("target", "completion", "response", "output", "answer", "a", "답변", "답")
"""Column names, the first that a row has is taken; capitals do not matter."""

ROLES_OF_COLUMNS = ("messages", "prompt", "context", "target", "system", "task")
"""What --columns may name."""

# Stand-ins in a rendered template, from the planes for private use: the beginning and end of what is learned, and
# from CONTENT on the content of message 0, 1, 2 …
START, END, CONTENT = "\U000f0000", "\U000f0001", 0x100000


@dataclass(frozen=True)
class Conversation:
    """Checked messages ({"role", "content"}), where they were read, and the kind of task if the row tells it."""

    messages: Messages
    where: str
    task: str = ""


@dataclass(frozen=True)
class Encoded:
    """Token ids, and True for each that is learned: the assistant's words and the `<|end|>` after them."""

    ids: list[int]
    trained: list[bool]


def read_conversations(
    data: Iterable[str],
    *,
    columns: dict[str, str] | None = None,
    skip_bad: bool = False,
    encoding: str = "auto",
    skipped: Skipped | None = None,
    run: Path | None = None,
) -> Iterator[Conversation]:
    """All conversations in files, folders, globs, feedback stores or `sample:chat`. The format is found out row by row.

    `columns` names the columns when they cannot be found out: {"prompt": "q", "target": "a"}. A row that is no
    conversation is a DataError with file and line; with `skip_bad` it is left out, and how many were is told. What a
    store tells is kept in the folder of the `run` that asks, which then goes on with it."""
    columns = columns or {}
    unknown = sorted(columns.keys() - set(ROLES_OF_COLUMNS))
    if unknown:
        known = ", ".join(ROLES_OF_COLUMNS)
        raise UsageError(f"{unknown[0]} is nothing a conversation has", where="--columns", mend=f"Known: {known}.")
    skipped, found = skipped or Skipped(skip_bad, OR_SKIP), False
    for path in data:
        for where, row in rows_of(path, columns, encoding, skipped, run):
            try:
                conversation = Conversation(messages_of(row, columns, where), where, str(row.get("task") or ""))
            except DataError as error:
                skipped.add(error)
                continue
            found = True
            yield conversation
    skipped.tell()
    if not found:
        raise DataError("there is no conversation here", where=", ".join(data))


def rows_of(
    path: str, columns: dict[str, str], encoding: str, skipped: Skipped, run: Path | None = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The demonstrations of a feedback store (`feedback.sqlite`, or of one kind: `feedback.sqlite#edited`), or the
    rows of files."""
    from dodam.feedback.snapshot import snapshot_rows
    from dodam.feedback.store import selection

    chosen = None if path.startswith(SAMPLE) else selection(path)
    if chosen is None:
        yield from read_rows(path, columns=columns, encoding=encoding, skipped=skipped)
        return
    place, kinds = chosen

    def read(store: "Store") -> Iterator[tuple[str, dict[str, Any]]]:
        for row in store.demonstrations(kinds):
            yield f"{store.where}, {row['kind']} {row['id']}", {"messages": row["messages"]}

    yield from snapshot_rows(place, "-".join(kinds).replace(" ", "-"), read, run)


def name_in(where: str, name: str | None) -> str | None:
    """What is put for {name} in a row: the name that was asked for; without one, ours in the bundled rows, and nothing
    elsewhere, where it may be somebody's code."""
    return name or (NAME if where.startswith(SAMPLE) else None)


def messages_of(row: dict[str, Any], columns: dict[str, str], where: str) -> Messages:
    """The checked messages of a row in any known format."""
    names = {str(name).lower(): name for name in row}

    def column(role: str, known: Sequence[str]) -> Any:
        """The row's value for a role; None where it has none."""
        name = role if role in columns else next((names[name] for name in known if name in names), None)
        return None if name is None else row[name]

    as_pair = not {"prompt", "target"}.isdisjoint(columns)
    turns = None if as_pair else column("messages", LISTS)
    if turns is not None:
        if not isinstance(turns, list):
            raise DataError(f"a list of messages was expected, not {type(turns).__name__}", where=where)
        messages = [message_of(turn, where) for turn in turns]
    else:
        prompt, target = column("prompt", PROMPTS), column("target", TARGETS)
        if prompt is None or target is None:
            raise DataError(
                f"no conversation is found in the columns {', '.join(map(str, row))}",
                where=where,
                mend="Name them: --columns prompt=NAME target=NAME.",
            )
        parts = [text_of(prompt, where), text_of(column("context", CONTEXTS) or "", where)]
        messages = [
            {"role": "user", "content": "\n\n".join(part for part in parts if part)},
            {"role": "assistant", "content": text_of(target, where)},
        ]
    system = text_of(column("system", ("system",)) or "", where)
    if system and not any(message["role"] == "system" for message in messages):
        messages.insert(0, {"role": "system", "content": system})
    check(messages, where)
    return messages


def message_of(turn: Any, where: str) -> dict[str, str]:
    """One turn, {"role", "content"} or {"from", "value"}, as a message."""
    if not isinstance(turn, dict):
        raise DataError("a turn is not an object with role and content", where=where)
    role, content = turn.get("role", turn.get("from")), turn.get("content", turn.get("value"))
    known = ROLES.get(str(role).lower())
    if known is None:
        raise DataError(f"the role {role} is not known", where=where, mend="Known: system, user, assistant.")
    return {"role": known, "content": text_of(content, where)}


def text_of(value: Any, where: str) -> str:
    """Text, a number as text, or OpenAI's list of text parts; cleaned."""
    if isinstance(value, list) and all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in value):
        value = "".join(part["text"] for part in value)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise DataError(f"text was expected, not {type(value).__name__}", where=where)
    return clean(str(value))


def check(messages: Messages, where: str) -> None:
    """DataError unless messages are a conversation to learn from: perhaps a system message, then user and assistant in
    turn (either may begin), the last word the assistant's, none of them empty."""
    roles = [message["role"] for message in messages]
    turns = roles[1:] if roles[:1] == ["system"] else roles
    if not all(message["content"] for message in messages):
        empty = next(message["role"] for message in messages if not message["content"])
        raise DataError(f"a message of the {empty} is empty", where=where)
    if "system" in turns:
        raise DataError("a system message must be the first one", where=where)
    if "user" not in turns or "assistant" not in turns:
        raise DataError("a conversation needs a user and an assistant", where=where)
    if any(one == next_one for one, next_one in pairwise(turns)):
        raise DataError("user and assistant must speak in turn", where=where)
    if turns[-1] != "assistant":
        raise DataError("the conversation ends without an answer", where=where)


def encode(tokenizer: "Tokenizer", messages: Sequence[dict[str, str]], *, generation_prompt: bool = False) -> Encoded:
    """Messages -> ids by the chat template. With `generation_prompt`, what opens an answer follows. Nothing inside a
    message is read as a special token. DataError for messages the template refuses."""
    return encode_many(tokenizer, [messages], generation_prompt=generation_prompt)[0]


def encode_many(
    tokenizer: "Tokenizer", conversations: Sequence[Sequence[dict[str, str]]], *, generation_prompt: bool = False
) -> list[Encoded]:
    """The same for many conversations at once, and faster."""
    template, names = template_of(tokenizer), tokenizer.names
    all_parts = [
        _parts(template, tuple(m["role"] for m in messages), generation_prompt, names.bos, names.end)
        for messages in conversations
    ]
    contents = iter(
        tokenizer.encode_batch(
            [
                part.text + messages[part.message]["content"]
                for messages, parts in zip(conversations, all_parts, strict=True)
                for part in parts
                if part.message is not None
            ]
        )
    )
    of_template: dict[str, list[int]] = {}
    encoded = []
    for parts in all_parts:
        ids, trained = [], []
        for part in parts:
            if part.message is not None:
                added = next(contents)
            elif part.text in of_template:
                added = of_template[part.text]
            else:
                added = of_template[part.text] = tokenizer.encode_template(part.text)
            ids.extend(added)
            trained.extend([part.learned] * len(added))
        encoded.append(Encoded(ids, trained))
    return encoded


def template_of(tokenizer: "Tokenizer") -> str:
    """The tokenizer's own chat template, else the one a model of its kind is tuned with."""
    return tokenizer.chat_template or (CHAT_TEMPLATE if tokenizer.foreign is None else PLAIN_TEMPLATE)


def render(
    template: str,
    messages: Sequence[dict[str, str]],
    *,
    generation_prompt: bool = False,
    bos: str = "<bos>",
    end: str = "<|end|>",
) -> str:
    """The text of messages by a chat template, as `transformers` renders it."""
    parts = _parts(template, tuple(message["role"] for message in messages), generation_prompt, bos, end)
    return "".join(part.text + ("" if part.message is None else messages[part.message]["content"]) for part in parts)


class Part(NamedTuple):
    """A piece of a rendered template: its own `text`, or, with `message`, that message's content behind `text`, which
    is white space that is encoded together with it."""

    text: str
    message: int | None
    learned: bool


@lru_cache(maxsize=256)
def _parts(template: str, roles: tuple[str, ...], generation_prompt: bool, bos: str, end: str) -> tuple[Part, ...]:
    """What a template makes of messages with these roles: its own texts and the numbers of the messages whose content
    goes between them, each with whether it is learned.

    The template is rendered with a stand-in for each content, so nothing a message says can reach it. Where it has no
    `generation` marks, the assistant's contents are learned, each with the `end` that follows it."""
    import jinja2

    if not roles:
        raise DataError("there are no messages")
    messages = [{"role": role, "content": chr(CONTENT + number)} for number, role in enumerate(roles)]
    try:
        text = _compiled(template).render(
            messages=messages, add_generation_prompt=generation_prompt, bos_token=bos, eos_token=end
        )
    except jinja2.TemplateError as error:
        raise DataError(f"the chat template refuses the messages: {error}") from None
    if START not in text:
        text = marked(text, roles, end)
    parts: list[Part] = []
    literal, learned = "", False
    for character in f"{text}{END}":
        if character not in (START, END) and ord(character) < CONTENT:
            literal += character
            continue
        own = literal.rstrip() if character not in (START, END) else literal
        if own:
            parts.append(Part(own, None, learned))
        space, literal = literal[len(own) :], ""
        if character in (START, END):
            learned = character == START
        else:
            parts.append(Part(space, ord(character) - CONTENT, learned))
    if [part.message for part in parts if part.message is not None] != list(range(len(roles))):
        raise DataError("the chat template leaves out, repeats or reorders messages")
    return tuple(parts)


def marked(text: str, roles: tuple[str, ...], end: str) -> str:
    """A rendered template with marks around each content of the assistant and the `end` behind it."""
    for number, role in enumerate(roles):
        if role == "assistant":
            content = chr(CONTENT + number)
            after = text.partition(content)[2]
            until = after[: after.index(end) + len(end)] if end in after.split(chr(CONTENT + number + 1))[0] else ""
            text = text.replace(content + until, f"{START}{content}{until}{END}")
    return text


@lru_cache(maxsize=8)
def _compiled(template: str) -> "Template":
    """The template, compiled with the settings of `transformers`, the `generation` marks as stand-ins."""
    import jinja2
    from jinja2 import nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Parser) -> list[nodes.Node]:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            start, end = (nodes.Output([nodes.TemplateData(mark)]).set_lineno(line) for mark in (START, END))
            return [start, *body, end]

    def refuse(message: str) -> None:
        raise jinja2.TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    try:
        return environment.from_string(template, globals={"raise_exception": refuse})
    except jinja2.TemplateError as error:
        raise DataError(f"the chat template cannot be read: {error}") from None
