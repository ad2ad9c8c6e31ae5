"""The tables of a feedback store. A row that holds what a person said is never changed, but for the time it was undone.

Rankings, demonstrations and thumbs have a `subject`: all that one person said about one thing. Current is the newest
row of a subject, by when it was said, that is not undone, so that a later row supersedes, an older one brought in from
a file does not, and undoing brings the earlier one back. The
tables are made by the migrations; VERSION is the newest of them.
"""

from functools import cache
from typing import Any

from sqlalchemy import JSON, ColumnElement, ForeignKey, Index, MetaData, Text, and_, exists, or_
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, mapped_column

VERSION = "0001"

NAMES = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}
"""Constraints have names everywhere, so that later migrations can alter them on SQLite too."""


class Table(DeclarativeBase):
    """All tables."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map = {str: Text, list[Any]: JSON, dict[str, Any]: JSON}  # noqa: RUF012


class Conversation(Table):
    """A collected chat."""

    __tablename__ = "conversations"

    id: Mapped[str] = mapped_column(primary_key=True)
    """The hash of its deletion key."""
    created: Mapped[float]


class Prompt(Table):
    """Messages up to the one to be answered."""

    __tablename__ = "prompts"

    number: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(unique=True)
    """A hash of the messages and the conversation: the same prompt is one row."""
    messages: Mapped[list[Any]]
    task: Mapped[str]
    source: Mapped[str]
    """Where it came from: a file, `chat`, whatever the writer calls it."""
    conversation: Mapped[str | None] = mapped_column(ForeignKey("conversations.id"), index=True)
    uncertainty: Mapped[float | None]
    """How little the reward model knows; the largest is asked first. The one column that is overwritten."""
    created: Mapped[float]


class Candidate(Table):
    """An answer to a prompt."""

    __tablename__ = "candidates"

    number: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(unique=True)
    """A hash of prompt, text and origin."""
    prompt: Mapped[str] = mapped_column(ForeignKey("prompts.id"), index=True)
    text: Mapped[str]
    model: Mapped[str]
    origin: Mapped[dict[str, Any]]
    """{"model", "step", "sampling"} and whatever else is known of it."""
    created: Mapped[float]


class Annotator(Table):
    """A person who ranks and writes."""

    __tablename__ = "annotators"

    name: Mapped[str] = mapped_column(primary_key=True)
    key_hash: Mapped[str | None]
    """scrypt, with its salt; None for one who needs no key."""
    created: Mapped[float]


class Guideline(Table):
    """What annotators were told."""

    __tablename__ = "guidelines"

    version: Mapped[str] = mapped_column(primary_key=True)
    text: Mapped[str]
    created: Mapped[float]


class Ranking(Table):
    """One person's order of several answers to a prompt."""

    __tablename__ = "rankings"
    __table_args__ = (Index("ix_rankings_prompt_annotator", "prompt", "annotator"),)

    number: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(unique=True)
    """Made by whoever sends it, so that sending it twice is one ranking."""
    subject: Mapped[str] = mapped_column(index=True)
    prompt: Mapped[str] = mapped_column(ForeignKey("prompts.id"))
    annotator: Mapped[str] = mapped_column(ForeignKey("annotators.name"), index=True)
    all_bad: Mapped[bool]
    seconds: Mapped[float | None]
    guideline: Mapped[str]
    supersedes: Mapped[str | None]
    """The ranking that was current before."""
    created: Mapped[float]
    undone: Mapped[float | None]


class Place(Table):
    """One answer's place in a ranking."""

    __tablename__ = "places"

    ranking: Mapped[str] = mapped_column(ForeignKey("rankings.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    """The answer's number within the ranking."""
    candidate: Mapped[str] = mapped_column(ForeignKey("candidates.id"), index=True)
    rank: Mapped[int]
    """1 is best; equal is a tie; no number is left out."""
    shown: Mapped[int | None]
    """Where it stood on the screen, from 0; None where that is not known."""


class Demonstration(Table):
    """An answer written by a person, from nothing or out of a candidate."""

    __tablename__ = "demonstrations"

    number: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(unique=True)
    subject: Mapped[str] = mapped_column(index=True)
    prompt: Mapped[str] = mapped_column(ForeignKey("prompts.id"), index=True)
    candidate: Mapped[str | None] = mapped_column(ForeignKey("candidates.id"), index=True)
    """What was edited."""
    text: Mapped[str]
    annotator: Mapped[str] = mapped_column(ForeignKey("annotators.name"), index=True)
    seconds: Mapped[float | None]
    guideline: Mapped[str]
    supersedes: Mapped[str | None]
    created: Mapped[float]
    undone: Mapped[float | None]


class Thumb(Table):
    """Up or down for one answer."""

    __tablename__ = "thumbs"

    number: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(unique=True)
    subject: Mapped[str] = mapped_column(index=True)
    candidate: Mapped[str] = mapped_column(ForeignKey("candidates.id"), index=True)
    annotator: Mapped[str] = mapped_column(ForeignKey("annotators.name"), index=True)
    up: Mapped[bool]
    supersedes: Mapped[str | None]
    created: Mapped[float]
    undone: Mapped[float | None]


class Lease(Table):
    """Who has a prompt open, and until when. Deleted when done."""

    __tablename__ = "leases"

    prompt: Mapped[str] = mapped_column(ForeignKey("prompts.id"), primary_key=True)
    annotator: Mapped[str] = mapped_column(ForeignKey("annotators.name"), index=True)
    until: Mapped[float]


class Skip(Table):
    """A prompt that an annotator did not want."""

    __tablename__ = "skips"

    prompt: Mapped[str] = mapped_column(ForeignKey("prompts.id"), primary_key=True)
    annotator: Mapped[str] = mapped_column(ForeignKey("annotators.name"), primary_key=True, index=True)
    created: Mapped[float]


Said = type[Ranking] | type[Demonstration] | type[Thumb]
"""The tables of what people said."""


@cache
def current(table: Said) -> ColumnElement[bool]:
    """Whether a row counts: it is not undone, and nothing newer on its subject is there that is not undone."""
    later = aliased(table)
    when, number = later.created, later.number
    after = or_(when > table.created, and_(when == table.created, number > table.number))
    newer = exists().where(later.subject == table.subject, later.undone.is_(None), after)
    return and_(table.undone.is_(None), ~newer)
