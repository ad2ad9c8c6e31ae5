"""Prompts and the answers given to them: stored once each, and handed out to annotators one by one.

In: messages, answers with their origins. Out: ids that follow from the content, and which prompt an annotator is asked
next: the one with the fewest rankings first. A prompt is lent to one annotator at a time, until done or until the lease
runs out.
"""

import hashlib
import json
import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import bindparam, delete, exists, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from dodam.errors import DataError
from dodam.feedback.database import now
from dodam.feedback.tables import (
    Annotator,
    Candidate,
    Demonstration,
    Lease,
    Place,
    Prompt,
    Ranking,
    Skip,
    current,
)

if TYPE_CHECKING:
    from sqlalchemy import Select
    from sqlalchemy.orm import Session

Messages = list[dict[str, str]]
Choice = Literal["random", "uncertain"]
Purpose = Literal["rank", "write"]

ROLES = ("system", "user", "assistant")
UNSTORABLE = re.compile("[\0\ud800-\udfff]")  # PostgreSQL has no NUL, UTF-8 no half of a pair
LONGEST_NAME = 100
TRIED = 20  # prompts that are tried in turn when others take them at the same moment


@dataclass(frozen=True)
class Answer:
    """A candidate as it is handed out. The origin is for the store, not for the eyes of the annotator."""

    id: str
    text: str
    origin: dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """A prompt as it is handed out, with all answers that the store has to it, oldest first."""

    id: str
    messages: Messages
    task: str
    source: str
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Progress:
    """How far an annotator has come: of `total` prompts so many are done, and so many were skipped."""

    done: int
    skipped: int
    total: int


def storable(text: str) -> str:
    """A text without what no database takes."""
    return UNSTORABLE.sub("\ufffd", text)


def origin_of(origin: Any) -> dict[str, Any]:
    """The origin of an answer as it is stored. DataError if it is no object of JSON."""
    if not isinstance(origin, Mapping):
        raise DataError(f"the origin of an answer is no object but {type(origin).__name__}")
    try:
        return json.loads(storable(json.dumps(dict(origin), ensure_ascii=False, allow_nan=False)))
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(f"the origin of an answer is no JSON ({error})") from None


def text_of(value: Any, what: str) -> str:
    """A text as it is stored: NFC, `\\n` as the only line end, no white space around it. DataError if it is empty."""
    if not isinstance(value, str):
        raise DataError(f"{what} is no text but {type(value).__name__}")
    lines = storable(value.replace("\r\n", "\n").replace("\r", "\n"))
    text = unicodedata.normalize("NFC", lines).strip()
    if not text:
        raise DataError(f"{what} is empty")
    return text


def name_of(value: Any, what: str) -> str:
    """A short name or id of one line."""
    name = text_of(value, what)
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise DataError(f"{what} must be one line of at most {LONGEST_NAME} characters")
    return name


def messages_of(prompt: Any) -> Messages:
    """A prompt, a text or a list of messages, as checked messages that end with the user's."""
    if isinstance(prompt, str):
        return [{"role": "user", "content": text_of(prompt, "the prompt")}]
    if not isinstance(prompt, list) or not prompt:
        raise DataError("a prompt must be a text or a list of messages")
    messages = []
    for message in prompt:
        if not isinstance(message, Mapping) or message.get("role") not in ROLES:
            raise DataError(f"a message of a prompt needs a role ({', '.join(ROLES)}) and content")
        content = text_of(message.get("content"), f"a message of the {message['role']}")
        messages.append({"role": str(message["role"]), "content": content})
    if messages[-1]["role"] != "user":
        raise DataError("the last message of a prompt must be the user's")
    return messages


def hash_of(*parts: Any) -> str:
    """32 hexadecimal digits that follow from the content."""
    text = json.dumps(parts, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def spelt(name: Any) -> str:
    """The name of an annotator as it is stored; `""` for one who is not known."""
    return name_of(name, "the name of the annotator") if name != "" else ""


def add_annotator(session: "Session", name: str) -> Annotator:
    """The annotator of that name, new if need be; `""` is one who is not known. Whoever writes for the same annotator
    waits here until this transaction ends, so that what one person says has an order."""
    name = spelt(name)
    found = session.get(Annotator, name, with_for_update=True)
    if found is None:
        found = Annotator(name=name, key_hash=None, created=now())
        session.add(found)
        session.flush()
    return found


def add_prompt(
    session: "Session", prompt: Any, *, task: str = "", source: str = "", conversation: str | None = None
) -> str:
    """Store a prompt and return its id; one that is there already stays as it is."""
    messages = messages_of(prompt)
    id = hash_of(messages, conversation or "")
    if not is_there(session, id):
        told = {"task": storable(task), "source": storable(source), "conversation": conversation}
        session.add(Prompt(id=id, messages=messages, **told, created=now()))
        session.flush()
    return id


def add_candidates(
    session: "Session", prompt: str, answers: Sequence[str], origins: Sequence[Mapping[str, Any]] | None = None
) -> list[str]:
    """Store answers to a prompt and return their ids. The same text of the same origin is one candidate. DataError
    for a prompt that is not there, and for empty answers."""
    check_prompt(session, prompt)
    if origins is not None and len(origins) != len(answers):
        raise DataError(f"there are {len(answers)} answers and {len(origins)} origins")
    ids = []
    for text, origin in zip(answers, origins or [{}] * len(answers), strict=True):
        text, origin = text_of(text, "an answer"), origin_of(origin)
        id = candidate_id(prompt, text, origin)
        if session.scalar(select(Candidate.id).where(Candidate.id == id)) is None:
            model = storable(str(origin.get("model") or ""))
            session.add(Candidate(id=id, prompt=prompt, text=text, model=model, origin=origin, created=now()))
            session.flush()
        ids.append(id)
    return ids


def candidate_id(prompt: str, text: str, origin: Mapping[str, Any]) -> str:
    """The id of an answer to the prompt, which follows from its text and origin."""
    return hash_of(prompt, text, origin)


def is_there(session: "Session", prompt: str) -> bool:
    """Whether the store has a prompt of this id."""
    return session.scalar(select(Prompt.id).where(Prompt.id == prompt)) is not None


def has_prompt(session: "Session", messages: Messages) -> bool:
    """Whether the store has this prompt, outside of collected chats."""
    return is_there(session, hash_of(messages, ""))


def has_candidates(
    session: "Session", prompt: str, answers: Sequence[str], origins: Sequence[Mapping[str, Any]]
) -> bool:
    """Whether the store has all these answers of these origins."""
    ids = {candidate_id(prompt, text, origin_of(origin)) for text, origin in zip(answers, origins, strict=True)}
    return len(session.scalars(select(Candidate.id).where(Candidate.id.in_(ids))).all()) == len(ids)


def check_prompt(session: "Session", prompt: str) -> None:
    if not is_there(session, prompt):
        raise DataError(f"there is no prompt {prompt}", mend="It may have been deleted.")


def asked(session: "Session", prompt: str) -> Asked:
    """A prompt with its answers."""
    row = session.scalar(select(Prompt).where(Prompt.id == prompt))
    if row is None:
        raise DataError(f"there is no prompt {prompt}", mend="It may have been deleted.")
    found = session.scalars(select(Candidate).where(Candidate.prompt == prompt).order_by(Candidate.number))
    answers = tuple(Answer(one.id, one.text, one.origin) for one in found)
    return Asked(row.id, row.messages, row.task, row.source, answers)


def all_asked(session: "Session") -> Iterator[Asked]:
    """Every prompt with its answers, oldest first."""
    for prompt in session.scalars(select(Prompt.id).order_by(Prompt.number)).all():
        yield asked(session, prompt)


def next_prompt(
    session: "Session",
    annotator: str,
    choice: Choice = "random",
    *,
    purpose: Purpose = "rank",
    weights: Collection[str] = (),
    without: Collection[str] = (),
    chats: bool = True,
    lease: float = 900.0,
) -> Asked | None:
    """Lend the annotator a prompt for `lease` seconds: the one that is lent to them already, else one they have
    neither done nor skipped and nobody else has open, with the fewest rankings (or, to `write`, demonstrations);
    among these the one with the largest uncertainty or any. With `weights`, those of the models that answer now, a
    ranking of other models' answers does not count; prompts in `without` are left out, and those of chats
    unless `chats`. None: all done."""
    annotator, moment = add_annotator(session, annotator).name, now()
    mine = exists().where(Lease.prompt == Prompt.id, Lease.annotator == annotator, Lease.until > moment)
    others = exists().where(Lease.prompt == Prompt.id, Lease.annotator != annotator, Lease.until > moment)
    skipped = exists().where(Skip.prompt == Prompt.id, Skip.annotator == annotator)
    said = judged(purpose, weights).subquery()
    done = exists().where(said.c.prompt == Prompt.id, said.c.annotator == annotator)
    counts = select(said.c.prompt, func.count().label("count")).group_by(said.c.prompt).subquery()
    order: list[Any] = [mine.desc(), func.coalesce(counts.c.count, 0)]
    if choice == "uncertain":
        order.append(Prompt.uncertainty.desc().nulls_last())
    found = (
        select(Prompt.id)
        .outerjoin(counts, counts.c.prompt == Prompt.id)
        .where(~others, ~skipped, ~done)
        .order_by(*order, func.random())
        .limit(TRIED)
    )
    if without:
        found = found.where(Prompt.id.not_in(list(without)))
    if not chats:
        found = found.where(Prompt.conversation.is_(None))
    for prompt in session.scalars(found).all():
        if lend(session, prompt, annotator, moment + lease):
            return asked(session, prompt)
    return None


def judged(purpose: Purpose, weights: Collection[str] = ()) -> "Select[str, str]":
    """Prompt and annotator of every current ranking or demonstration. With `weights`, one for each model that answers
    now, only rankings of answers of at least two of these models (of one, where there is but one, or two are the same),
    and of answers of which no weights are known: these came with their prompt."""
    if purpose == "write":
        return select(Demonstration.prompt, Demonstration.annotator).where(current(Demonstration))
    found = select(Ranking.prompt, Ranking.annotator).where(current(Ranking))
    if weights:
        fewest = 2 if len(set(weights)) == len(weights) > 1 else 1
        of = Candidate.origin["weights"].as_string()
        mine = (Place.ranking == Ranking.id, Place.candidate == Candidate.id)
        known = exists().where(*mine, of.is_not(None))
        now_served = select(func.count(of.distinct())).where(*mine, of.in_(sorted(set(weights))))
        found = found.where(or_(~known, now_served.correlate(Ranking).scalar_subquery() >= fewest))
    return found


def lend(session: "Session", prompt: str, annotator: str, until: float) -> bool:
    """Take or prolong the lease of a prompt; False if another annotator has it."""
    insert = (postgresql if session.get_bind().dialect.name == "postgresql" else sqlite).insert
    statement = insert(Lease).values(prompt=prompt, annotator=annotator, until=until)
    free = or_(Lease.until <= now(), Lease.annotator == annotator)
    values = {"annotator": annotator, "until": until}
    statement = statement.on_conflict_do_update(index_elements=["prompt"], set_=values, where=free)
    return session.execute(statement.returning(Lease.prompt)).first() is not None


def release(session: "Session", prompt: str, annotator: str) -> None:
    """Give a prompt back; without effect if the annotator does not have it."""
    session.execute(delete(Lease).where(Lease.prompt == prompt, Lease.annotator == annotator))


def skip(session: "Session", prompt: str, annotator: str) -> None:
    """The annotator is not asked this prompt again."""
    annotator = add_annotator(session, annotator).name
    check_prompt(session, prompt)
    if session.get(Skip, (prompt, annotator)) is None:
        session.add(Skip(prompt=prompt, annotator=annotator, created=now()))
    release(session, prompt, annotator)


def unskip(session: "Session", prompt: str, annotator: str, lease: float = 900.0) -> None:
    """Take a skip back and open the prompt again, unless somebody else has it by now."""
    annotator = add_annotator(session, annotator).name
    check_prompt(session, prompt)
    session.execute(delete(Skip).where(Skip.prompt == prompt, Skip.annotator == annotator))
    lend(session, prompt, annotator, now() + lease)


def progress(
    session: "Session",
    annotator: str,
    *,
    purpose: Purpose = "rank",
    weights: Collection[str] = (),
    without: Collection[str] = (),
    chats: bool = True,
) -> Progress:
    """How many of the prompts the annotator has done and skipped, as `next_prompt` counts; what is in `without` and not
    done is no part of the whole, nor are chats unless `chats`."""
    annotator = spelt(annotator)
    said = judged(purpose, weights).subquery()
    done = exists().where(said.c.prompt == Prompt.id, said.c.annotator == annotator)
    skipped = exists().where(Skip.prompt == Prompt.id, Skip.annotator == annotator)
    among = [or_(Prompt.id.not_in(list(without)), done)] if without else []
    among += [] if chats else [Prompt.conversation.is_(None)]
    count = select(func.count()).select_from(Prompt).where(*among)
    return Progress(
        done=session.scalar(count.where(done)) or 0,
        skipped=session.scalar(count.where(skipped, ~done)) or 0,
        total=session.scalar(count) or 0,
    )


def set_uncertainty(session: "Session", values: Mapping[str, float]) -> set[str]:
    """Write how little the reward model knows about prompts, by their ids; the largest is asked first. Returns the ids
    that are gone: somebody may have deleted them while the others were scored."""
    for prompt, value in values.items():
        if value != value:
            raise DataError(f"the uncertainty of prompt {prompt} is not a number")
    there = values.keys() & set(session.scalars(select(Prompt.id)))
    rows = [{"of": prompt, "value": float(values[prompt])} for prompt in values if prompt in there]
    if rows:
        table = Prompt.metadata.tables[Prompt.__tablename__]
        known = update(table).where(table.c.id == bindparam("of")).values(uncertainty=bindparam("value"))
        session.connection().execute(known, rows)
    return set(values) - there
