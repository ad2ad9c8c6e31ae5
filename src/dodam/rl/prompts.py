"""Prompts to be answered: conversations that end with the user, found in rows of many forms, checked and encoded.

In: JSONL, JSON, CSV/TSV, Parquet, or `sample:problems`, `sample:chat`, `sample:tests`. Out: `Prompt`s, each with its
whole row, in which rewards find what else is known of it: the answer, a metric, tests.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash

from dodam.data.conversation import CONTEXTS, LISTS, PROMPTS, TARGETS, Messages, encode_many, message_of, text_of
from dodam.data.skipped import OR_SKIP, Skipped
from dodam.data.sources import read_rows
from dodam.errors import DataError, UsageError

if TYPE_CHECKING:
    from dodam.tokenizer.tokenizer import Tokenizer

ANSWERS = (*TARGETS, "solution")
"""Columns that may hold the right answer."""

ROLES_OF_COLUMNS = ("messages", "prompt", "context", "answer", "system")
"""What --columns may name."""


@dataclass(frozen=True)
class Prompt:
    """Messages that end with the user's, their ids with what opens an answer, the row they stood in, and where."""

    messages: Messages
    ids: list[int]
    item: dict[str, Any]
    where: str


def read_prompts(
    data: Sequence[str],
    tokenizer: "Tokenizer",
    most: int,
    *,
    columns: dict[str, str] | None = None,
    encoding: str = "auto",
    skip_bad: bool = False,
    limit: int = 0,
) -> list[Prompt]:
    """All prompts of at most `most` tokens, or the first `limit`, each text once. A row without a prompt, or with one
    that is too long, is a DataError that names it; with `skip_bad` such rows are left out and counted."""
    columns = columns or {}
    if unknown := sorted(columns.keys() - set(ROLES_OF_COLUMNS)):
        known = ", ".join(ROLES_OF_COLUMNS)
        raise UsageError(f"{unknown[0]} is nothing a prompt has", where="--columns", mend=f"Known: {known}.")
    skipped = Skipped(skip_bad, OR_SKIP)
    found: dict[tuple[str, ...], tuple[Messages, dict[str, Any], str]] = {}
    for path in data:
        for where, row in read_rows(path, columns=columns, encoding=encoding, skipped=skipped):
            try:
                messages, item = prompt_of(row, columns, where)
            except DataError as error:
                skipped.add(error)
                continue
            key = (*(f"{one['role']}: {one['content']}" for one in messages), str(item.get("answer", "")))
            found.setdefault(key, (messages, item, where))
            if limit and len(found) == limit:
                break
        if limit and len(found) == limit:
            break
    prompts = []
    encoded = encode_many(tokenizer, [messages for messages, _, _ in found.values()], generation_prompt=True)
    for (messages, item, where), one in zip(found.values(), encoded, strict=True):
        if len(one.ids) > most:
            what = f"the prompt has {len(one.ids)} tokens, there is room for {most} beside the answer"
            skipped.add(DataError(what, where=where, mend="Shorten it, or lower --max-tokens if that is enough."))
        else:
            prompts.append(Prompt(messages, one.ids, item, where))
    skipped.tell()
    if not prompts:
        raise DataError("there is no prompt here that can be used", where=", ".join(data))
    return prompts


def prompt_of(row: dict[str, Any], columns: dict[str, str], where: str) -> tuple[Messages, dict[str, Any]]:
    """The checked messages of a row, an assistant's last words left off, and the row with its `answer`, where there is
    one: a column's, or those last words."""
    names = {str(name).lower(): name for name in row}

    def column(role: str, known: Sequence[str]) -> Any:
        name = role if role in columns else next((names[name] for name in known if name in names), None)
        return None if name is None else row[name]

    turns = None if "prompt" in columns else column("messages", LISTS)
    prompt = None if turns is not None else column("prompt", PROMPTS)
    if isinstance(prompt, list):
        turns, prompt = prompt, None
    if turns is not None:
        if not isinstance(turns, list):
            raise DataError(f"a list of messages was expected, not {type(turns).__name__}", where=where)
        messages = [message_of(turn, where) for turn in turns]
    elif prompt is None:
        mend = "Name the column: --columns prompt=NAME."
        raise DataError(f"no prompt is found in the columns {', '.join(map(str, row))}", where=where, mend=mend)
    elif "metric" in names and "task" in names and not columns:
        raise DataError("this is a text to be gone on with, no prompt to be answered", where=where)
    else:
        parts = [text_of(prompt, where), text_of(column("context", CONTEXTS) or "", where)]
        messages = [{"role": "user", "content": "\n\n".join(part for part in parts if part)}]
    answer = column("answer", ANSWERS)
    if messages and messages[-1]["role"] == "assistant":
        *messages, said = messages
        answer = said["content"] if answer is None else answer
    system = text_of(column("system", ("system",)) or "", where)
    if system and not any(message["role"] == "system" for message in messages):
        messages.insert(0, {"role": "system", "content": system})
    check(messages, where)
    return messages, row if answer is None else {**row, "answer": answer}


def check(messages: Messages, where: str) -> None:
    """DataError unless messages are a conversation whose next words are the assistant's."""
    roles = [message["role"] for message in messages]
    turns = roles[1:] if roles[:1] == ["system"] else roles
    if "system" in turns:
        raise DataError("a system message must be the first one", where=where)
    if not turns or turns[-1] != "user":
        raise DataError("a prompt must end with the user's words", where=where)
    if any(one == following for one, following in pairwise(turns)):
        raise DataError("user and assistant must speak in turn", where=where)
    if not all(message["content"] for message in messages):
        raise DataError("a message is empty", where=where)


def split(prompts: Iterable[Prompt], share: float) -> tuple[list[Prompt], list[Prompt]]:
    """Prompts to learn from, and a share that is held back; which ones follows from their text alone."""
    learned: list[Prompt] = []
    held_back: list[Prompt] = []
    for prompt in prompts:
        text = "\n".join(message["content"] for message in prompt.messages)
        digest = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
        (held_back if digest / 2**64 < share else learned).append(prompt)
    return learned, held_back


def fingerprint(prompts: Iterable[Prompt]) -> str:
    """Changes with every token of the prompts and with their answers."""
    hasher = xxhash.xxh3_64()
    for prompt in prompts:
        hasher.update(np.asarray(prompt.ids, dtype=np.int64).tobytes())
        hasher.update(str(prompt.item.get("answer", "")).encode())
    return hasher.hexdigest()
