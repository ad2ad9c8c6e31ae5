"""Collected chats: stored with personal data masked, each under a deletion key, and deleted by it for good."""

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, select

from dodam.errors import DataError
from dodam.feedback.database import now
from dodam.feedback.personal import masked
from dodam.feedback.prompts import add_candidates, add_prompt, messages_of
from dodam.feedback.tables import (
    Candidate,
    Conversation,
    Demonstration,
    Lease,
    Place,
    Prompt,
    Ranking,
    Skip,
    Thumb,
)

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

SHORTEST_KEY, FEWEST_CHARACTERS = 16, 6  # of a key, and different ones in it: it must not be guessed


@dataclass(frozen=True)
class Deleted:
    """What went with a conversation: numbers of rows, and the ids of the rankings that others had made of its
    answers."""

    prompts: int
    answers: int
    demonstrations: int
    thumbs: int
    rankings: tuple[str, ...]


def new_key() -> str:
    """A deletion key: 128 random bits."""
    return secrets.token_urlsafe(16)


def conversation_of(key: str) -> str:
    """The id under which a key's conversation is stored. A key that `check_key` lets in is taken for random, so that a
    plain hash tells nothing of it."""
    return hashlib.sha256(key.strip().encode()).hexdigest()


def check_key(key: Any) -> None:
    """DataError for a deletion key that is too easily guessed: too short, or of few different characters, as names,
    numbers and dates are. Whether what is left is random, whoever chooses it must know."""
    if not isinstance(key, str) or len(key.strip()) < SHORTEST_KEY:
        raise DataError(f"a deletion key has at least {SHORTEST_KEY} characters", mend="Use `new_key()`.")
    if len(set(key)) < FEWEST_CHARACTERS:
        what = f"a deletion key has at least {FEWEST_CHARACTERS} different characters: it must not be guessed"
        raise DataError(what, mend="Choose it at random, or use `new_key()`.")


def collect(session: "Session", key: str, messages: Any, answer: str, origin: Mapping[str, Any]) -> tuple[str, str]:
    """Store one turn of a chat: the messages so far and what was answered, personal data masked. Returns the ids of the
    prompt and of the answer. The same turn again is stored once."""
    check_key(key)
    checked = messages_of(messages)
    hidden = [{**message, "content": masked(message["content"])} for message in checked]
    id = conversation_of(key)
    if session.get(Conversation, id) is None:
        session.add(Conversation(id=id, created=now()))
        session.flush()
    prompt = add_prompt(session, hidden, source="chat", conversation=id)
    (candidate,) = add_candidates(session, prompt, [masked(answer)], [origin])
    return prompt, candidate


def delete_by_key(session: "Session", key: str) -> Deleted:
    """Delete a conversation with all that belongs to its prompts. DataError if no conversation has the key."""
    conversation = session.get(Conversation, conversation_of(key))
    if conversation is None:
        raise DataError("no conversation has this key", mend="It may have been deleted already.")
    prompts = session.scalars(select(Prompt.id).where(Prompt.conversation == conversation.id)).all()
    candidates = session.scalars(select(Candidate.id).where(Candidate.prompt.in_(prompts))).all()
    rankings = session.scalars(select(Ranking.id).where(Ranking.prompt.in_(prompts)).order_by(Ranking.number)).all()
    demonstrations = session.scalars(select(Demonstration.id).where(Demonstration.prompt.in_(prompts))).all()
    thumbs = session.scalars(select(Thumb.id).where(Thumb.candidate.in_(candidates))).all()
    for rows in (
        delete(Place).where(Place.ranking.in_(rankings)),
        delete(Ranking).where(Ranking.prompt.in_(prompts)),
        delete(Demonstration).where(Demonstration.prompt.in_(prompts)),
        delete(Thumb).where(Thumb.candidate.in_(candidates)),
        delete(Lease).where(Lease.prompt.in_(prompts)),
        delete(Skip).where(Skip.prompt.in_(prompts)),
        delete(Candidate).where(Candidate.prompt.in_(prompts)),
        delete(Prompt).where(Prompt.conversation == conversation.id),
    ):
        session.execute(rows)
    session.delete(conversation)
    return Deleted(len(prompts), len(candidates), len(demonstrations), len(thumbs), tuple(rankings))
