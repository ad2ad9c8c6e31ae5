"""The forms of JSONL rows that a store takes in and gives out: our rankings, TRL's and OpenAI's pairs, conversations.

In: a row of any of them. Out: an `Entry`, checked as far as one can without the store; and the other way round, a
ranking of the store as pairs. DataError names what is wrong with a row.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import combinations
from typing import Any, Literal

from dodam.data.preferences import TURN, prompt_of, ranking_of
from dodam.errors import DataError
from dodam.feedback.judgements import check_shown, check_texts, ranks_of, seconds_of
from dodam.feedback.prompts import ROLES, Messages, hash_of, messages_of, origin_of, spelt, text_of

Row = dict[str, Any]
Form = Literal["rankings", "trl", "openai", "conversations"]
PAIRS = {"chosen", "rejected", "preferred_output", "non_preferred_output"}
"""A row that has one of these is a pair."""


@dataclass(frozen=True)
class Entry:
    """A row to store: a prompt, perhaps with answers, perhaps with what somebody said of them. `ranks` None: answers
    that are yet to be ranked; `demonstration`: what a person wrote, and `original` what it was made of, which
    has the one origin there is then."""

    prompt: Messages
    answers: tuple[str, ...] = ()
    origins: tuple[dict[str, Any], ...] = ()
    ranks: tuple[int, ...] | None = None
    demonstration: str | None = None
    original: str | None = None
    all_bad: bool = False
    shown: tuple[int, ...] | None = None
    id: str = ""
    annotator: str = ""
    seconds: float | None = None
    guideline: str = ""
    created: float | None = None
    task: str = ""


def entry(row: Any) -> Entry:
    """The entry of a row in any known form."""
    if not isinstance(row, Mapping):
        raise DataError(f"a row must be an object, not {type(row).__name__}")
    if not PAIRS.isdisjoint(row):
        return pair(row)
    if "messages" in row:
        return conversation(row)
    if "prompt" not in row:
        mend = "Known: rankings, TRL's and OpenAI's pairs, conversations, prompts."
        raise DataError(f"no known form has the columns {', '.join(map(str, row))}", mend=mend)
    if "answers" not in row:
        return Entry(prompt=prompt_of_row(row), task=str(row.get("task") or ""))
    return ranking(row)


def ranking(row: Mapping[str, Any]) -> Entry:
    """Our own form; without `ranks` (and not all bad) the answers are to be ranked."""
    answers = row["answers"]
    if not isinstance(answers, list):
        raise DataError(f"the answers are no list but {type(answers).__name__}")
    texts = tuple(text_of(answer, "an answer") for answer in answers)
    origins = row.get("origins") or []
    if not isinstance(origins, list):
        raise DataError("the origins must be a list of objects")
    origins = [origin_of(origin) for origin in origins]
    if origins and len(origins) != len(texts):
        raise DataError(f"there are {len(texts)} answers and {len(origins)} origins")
    all_bad, ranks, shown = row.get("all_bad") or False, row.get("ranks"), row.get("shown")
    if ranks is not None or all_bad:
        ranks = tuple(ranks_of(ranks, len(texts), all_bad))
        if shown is not None and not isinstance(shown, list):
            raise DataError("`shown` must be a list")
        check_shown(shown, texts)
        given = [hash_of(text, origin) for text, origin in zip(texts, origins or [{}] * len(texts), strict=True)]
        check_texts(texts, given, ranks)
    found = Entry(
        prompt=prompt_of_row(row),
        answers=texts,
        origins=tuple(origins or [{}] * len(texts)),
        ranks=ranks,
        all_bad=all_bad,
        shown=tuple(shown) if shown and ranks else None,
        **said(row),
    )
    return found if ranks is None else with_id(found)


def pair(row: Mapping[str, Any]) -> Entry:
    """Two answers, the first of them better, read as `dodam reward --data FILE` reads them."""
    try:
        read = ranking_of(row, {}, "")
    except DataError as error:
        raise DataError(error.what, mend="" if "--columns" in error.mend else error.mend) from None
    answers = tuple(text_of(answer, "an answer") for answer in read.answers)
    return with_id(
        Entry(prompt=messages_of(read.prompt), answers=answers, origins=({}, {}), ranks=read.ranks, **said(row))
    )


def prompt_of_row(row: Mapping[str, Any]) -> Messages:
    """The prompt of a row, a text, a dialogue of Human: and Assistant: or messages, with the `system` beside it."""
    prompt, system = row["prompt"], row.get("system")
    if system or (isinstance(prompt, str) and TURN.match(prompt)):
        prompt = prompt_of(prompt, system, "")
    return messages_of(prompt)


def said(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a row tells of who said it and when."""
    id, time = row.get("id"), row.get("time")
    try:
        created = None if time is None else datetime.fromisoformat(time).timestamp()
    except (TypeError, ValueError):
        raise DataError(f"the time {time!r} is none", mend="Such as 2026-05-01T12:00:00+00:00.") from None
    return {
        "id": "" if id is None else str(id),
        "annotator": spelt(str(row.get("annotator") or "")),
        "seconds": seconds_of(row.get("seconds")),
        "guideline": str(row.get("guideline") or ""),
        "created": created,
        "task": str(row.get("task") or ""),
    }


def with_id(found: Entry) -> Entry:
    """With an id that follows from the content, where the row has none: brought in twice it is one ranking."""
    if found.id:
        return found
    content = [found.prompt, found.answers, found.ranks, found.all_bad, found.annotator, found.demonstration]
    if found.original is not None or any(found.origins):
        content += [found.original, found.origins]
    return replace(found, id=hash_of(*content))


def turns(messages: Any) -> list[dict[str, Any]]:
    """Messages that end with the assistant's."""
    if not isinstance(messages, list) or not messages or not all(isinstance(one, dict) for one in messages):
        raise DataError("a list of messages was expected")
    if messages[-1].get("role") != "assistant":
        raise DataError("the last message must be the assistant's")
    return messages


def conversation(row: Mapping[str, Any]) -> Entry:
    """A conversation as a demonstration of its last answer; the kind `ranked first` is no demonstration and is
    refused."""
    if row.get("kind") == "ranked first":
        raise DataError("an answer that was ranked first is no demonstration", mend="Bring in the rankings.")
    messages = turns(row["messages"])
    if any(message.get("role") not in ROLES for message in messages):
        raise DataError(f"a message needs a role: {', '.join(ROLES)}")
    if row.get("system") and messages[0]["role"] != "system":
        messages = [{"role": "system", "content": row["system"]}, *messages]
    answer, original = text_of(messages[-1].get("content"), "the answer"), row.get("original")
    return with_id(
        Entry(
            prompt=messages_of(messages[:-1]),
            demonstration=answer,
            original=None if original is None else text_of(original, "the original"),
            origins=() if original is None else (origin_of(row.get("origin") or {}),),
            **said(row),
        )
    )


def pairs(row: Row) -> Iterator[tuple[str, str]]:
    """The better and the worse answer of every pair of a ranking that is no tie; what two models said alike is one."""
    ranked = sorted(dict.fromkeys(zip(row["ranks"], row["answers"], strict=True)), key=lambda one: one[0])
    for (better, chosen), (worse, rejected) in combinations(ranked, 2):
        if better < worse:
            yield chosen, rejected


def as_trl(row: Row) -> Iterator[Row]:
    """A ranking as TRL's conversational pairs."""
    for chosen, rejected in pairs(row):
        yield {"prompt": row["prompt"], "chosen": answered(chosen), "rejected": answered(rejected)} | by(row)


def as_openai(row: Row) -> Iterator[Row]:
    """A ranking as OpenAI's preference pairs."""
    for chosen, rejected in pairs(row):
        yield {
            "input": {"messages": row["prompt"]},
            "preferred_output": answered(chosen),
            "non_preferred_output": answered(rejected),
        } | by(row)


def by(row: Row) -> Row:
    """Whose judgement it is, where that is known: two people may disagree, one may not."""
    return {"annotator": row["annotator"]} if row["annotator"] else {}


def answered(text: str) -> Messages:
    return [{"role": "assistant", "content": text}]
