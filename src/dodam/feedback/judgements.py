"""What people say about answers, as it is written down: rankings, demonstrations, thumbs, and taking them back.

In: ids made by whoever sends, and what was said. Out: `Saved`. Everything is checked before anything is written; the
same id with the same content again is the same row. DataError names what cannot be meant.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import select

from dodam.errors import DataError
from dodam.feedback.database import now
from dodam.feedback.prompts import add_annotator, check_prompt, hash_of, lend, name_of, release, storable, text_of
from dodam.feedback.tables import Candidate, Demonstration, Place, Ranking, Thumb, current

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dodam.feedback.tables import Said

LARGEST = 26  # answers in one ranking
REOPENED = 900.0  # seconds that a prompt is lent whose ranking was undone


@dataclass(frozen=True)
class Saved:
    """What became of what was sent: `new` is False when it was there already."""

    id: str
    new: bool
    supersedes: str | None = None


def add_ranking(
    session: "Session",
    *,
    id: str,
    prompt: str,
    answers: Sequence[str],
    ranks: Sequence[int] | None,
    annotator: str,
    all_bad: bool = False,
    seconds: float | None = None,
    guideline: str = "",
    shown: Sequence[int] | None = None,
    created: float | None = None,
) -> Saved:
    """Store a ranking of candidates (`answers`: their ids). `ranks`: 1 is best, equal is a tie; None only with
    `all_bad`, when all tie. `shown`: each answer's place on the screen, from 0; answers of one text may share it. What
    the annotator said before about the same answers is superseded; one who is not known (`""`) supersedes nobody."""
    id = name_of(id, "the id of a ranking")
    ranks = ranks_of(ranks, len(answers), all_bad)
    seconds = seconds_of(seconds)
    annotator = add_annotator(session, annotator).name
    check_shown(shown, check_answers(session, prompt, answers, ranks))
    subject = hash_of(annotator, sorted(answers)) if annotator else id
    there = session.scalar(select(Ranking).where(Ranking.id == id))
    if there is not None:
        found = session.scalars(select(Place).where(Place.ranking == id))
        before = (there.prompt, there.annotator, there.all_bad, {one.candidate: one.rank for one in found})
        check_same(id, "ranking", before == (prompt, annotator, all_bad, dict(zip(answers, ranks, strict=True))))
        return Saved(id, new=False, supersedes=there.supersedes)
    before = newest(session, Ranking, subject) if annotator else None
    created, supersedes = when(session, Ranking, before, created)
    session.add(
        Ranking(
            id=id,
            subject=subject,
            prompt=prompt,
            annotator=annotator,
            all_bad=all_bad,
            seconds=seconds,
            guideline=storable(guideline),
            supersedes=supersedes,
            created=created,
            undone=None,
        )
    )
    session.flush()
    for position, (candidate, rank) in enumerate(zip(answers, ranks, strict=True)):
        place = shown[position] if shown is not None else None
        session.add(Place(ranking=id, position=position, candidate=candidate, rank=rank, shown=place))
    release(session, prompt, annotator)
    return Saved(id, new=True, supersedes=supersedes)


def add_demonstration(
    session: "Session",
    *,
    id: str,
    prompt: str,
    text: str,
    annotator: str,
    edited: str | None = None,
    supersedes: str | None = None,
    seconds: float | None = None,
    guideline: str = "",
    created: float | None = None,
) -> Saved:
    """Store an answer that a person wrote; `edited` is the candidate it was made of. A correction names the
    demonstration that it `supersedes`, which must be the same person's on the same prompt; an edit supersedes the same
    person's earlier one of the same candidate in any case."""
    id, text = name_of(id, "the id of a demonstration"), text_of(text, "the answer")
    seconds = seconds_of(seconds)
    annotator = add_annotator(session, annotator).name
    check_prompt(session, prompt)
    if edited is not None:
        check_answers(session, prompt, [edited], [1])
    there = session.scalar(select(Demonstration).where(Demonstration.id == id))
    if there is not None:
        before = (there.prompt, there.annotator, there.candidate, there.text)
        check_same(id, "demonstration", before == (prompt, annotator, edited, text))
        return Saved(id, new=False, supersedes=there.supersedes)
    subject = id
    if supersedes is None and edited is not None and annotator:
        mine = (Demonstration.annotator == annotator, Demonstration.candidate == edited, current(Demonstration))
        supersedes = session.scalar(
            select(Demonstration.id).where(*mine).order_by(Demonstration.number.desc()).limit(1)
        )
    if supersedes is not None:
        earlier = session.scalar(select(Demonstration).where(Demonstration.id == supersedes))
        if earlier is None or (earlier.prompt, earlier.annotator) != (prompt, annotator):
            raise DataError(f"{annotator} has written no demonstration {supersedes} to this prompt")
        subject = earlier.subject
    created, supersedes = when(session, Demonstration, supersedes, created)
    session.add(
        Demonstration(
            id=id,
            subject=subject,
            prompt=prompt,
            candidate=edited,
            text=text,
            annotator=annotator,
            seconds=seconds,
            guideline=storable(guideline),
            supersedes=supersedes,
            created=created,
            undone=None,
        )
    )
    release(session, prompt, annotator)
    return Saved(id, new=True, supersedes=supersedes)


def add_thumb(session: "Session", *, id: str, answer: str, up: bool, annotator: str = "") -> Saved:
    """Store a thumb for a candidate; it supersedes the same person's earlier one."""
    id = name_of(id, "the id of a thumb")
    if not isinstance(up, bool):
        raise DataError("a thumb is up or down: true or false")
    annotator = add_annotator(session, annotator).name
    if session.scalar(select(Candidate.id).where(Candidate.id == answer)) is None:
        raise DataError(f"there is no answer {answer}", mend="It may have been deleted.")
    there = session.scalar(select(Thumb).where(Thumb.id == id))
    if there is not None:
        check_same(id, "thumb", (there.candidate, there.annotator, there.up) == (answer, annotator, up))
        return Saved(id, new=False, supersedes=there.supersedes)
    subject = hash_of(annotator, answer)
    created, supersedes = when(session, Thumb, newest(session, Thumb, subject), None)
    said = Thumb(id=id, subject=subject, candidate=answer, annotator=annotator, up=up, supersedes=supersedes)
    said.created, said.undone = created, None
    session.add(said)
    return Saved(id, new=True, supersedes=supersedes)


def undo(session: "Session", id: str, annotator: str) -> Literal["ranking", "demonstration", "thumb"]:
    """Take back what the annotator said under that id; a second time changes nothing. What it had superseded counts
    again, and the prompt is lent to the annotator once more. Returns what it was."""
    annotator = add_annotator(session, annotator).name
    tables: tuple[tuple[Literal["ranking", "demonstration", "thumb"], Said], ...] = (
        ("ranking", Ranking),
        ("demonstration", Demonstration),
        ("thumb", Thumb),
    )
    for kind, table in tables:
        row: Any = session.scalar(select(table).where(table.id == id, table.annotator == annotator))
        if row is None:
            continue
        if row.undone is None:
            row.undone = now()
            if kind != "thumb":
                lend(session, row.prompt, annotator, now() + REOPENED)
        return kind
    raise DataError(f"{annotator or 'nobody'} has said nothing under the id {id}")


def newest(session: "Session", table: "Said", subject: str) -> str | None:
    """The id of what counts on a subject now."""
    return session.scalar(select(table.id).where(table.subject == subject, current(table)))


def when(session: "Session", table: "Said", before: str | None, created: float | None) -> tuple[float, str | None]:
    """When something is said that would supersede `before`, and what it does supersede: nothing where it is brought in
    and older. What is said now comes after all else, whatever the clock says; nothing comes from the future."""
    earlier = None if before is None else session.scalar(select(table.created).where(table.id == before))
    if created is None:
        return max(now(), earlier or 0.0), before
    created = min(created, now())
    return created, before if earlier is None or created >= earlier else None


def ranks_of(ranks: Sequence[int] | None, number: int, all_bad: bool) -> list[int]:
    """Ranks for so many answers, without gaps: 1, 3, 3 becomes 1, 2, 2."""
    if not isinstance(all_bad, bool):
        raise DataError("`all_bad` must be true or false")
    if not 2 <= number <= LARGEST:
        raise DataError(f"a ranking has 2 to {LARGEST} answers, not {number}")
    if ranks is None:
        if not all_bad:
            raise DataError("a ranking needs ranks", mend="Or mark it: all bad.")
        return [1] * number
    if isinstance(ranks, str) or not isinstance(ranks, Sequence) or len(ranks) != number:
        found = len(ranks) if isinstance(ranks, Sequence) else type(ranks).__name__
        raise DataError(f"there are {number} answers and {found} ranks")
    if not all(isinstance(rank, int) and not isinstance(rank, bool) and rank >= 1 for rank in ranks):
        raise DataError(f"ranks must be whole numbers from 1, not {list(ranks)}")
    order = sorted(set(ranks))
    return [order.index(rank) + 1 for rank in ranks]


def check_shown(shown: Sequence[int] | None, texts: Sequence[str]) -> None:
    """DataError unless every place from 0 on is taken, each by one text: two answers that say the same may share it."""
    if shown is None:
        return
    numbers = len(shown) == len(texts) and all(type(place) is int for place in shown)
    places = sorted(set(shown)) if numbers else []
    if not places or places != list(range(len(places))) or len(set(zip(shown, texts, strict=True))) > len(places):
        raise DataError(f"`shown` must have each place from 0 on, one for each text, not {list(shown)}")


def check_answers(session: "Session", prompt: str, answers: Sequence[str], ranks: Sequence[int]) -> list[str]:
    """The texts of answers. DataError unless all are different answers to the prompt, and the same text has the same
    rank."""
    check_prompt(session, prompt)
    found = session.scalars(select(Candidate).where(Candidate.prompt == prompt, Candidate.id.in_(answers)))
    texts = {candidate.id: candidate.text for candidate in found}
    for answer in answers:
        if answer not in texts:
            raise DataError(f"{answer} is no answer to the prompt {prompt}", mend="It may have been deleted.")
    said = [texts[answer] for answer in answers]
    check_texts(said, answers, ranks)
    return said


def check_texts(texts: Sequence[str], answers: Sequence[Any], ranks: Sequence[int]) -> None:
    """DataError where one text has two ranks, or one answer (its text, or what else tells it from others) is there
    twice."""
    rank_of: dict[str, int] = {}
    for text, rank in zip(texts, ranks, strict=True):
        if rank_of.setdefault(text, rank) != rank:
            raise DataError(f"the answer {text[:40]!r} has two ranks")
    if len(set(answers)) < len(answers):
        raise DataError("the same answer is there twice", mend="Leave one out.")


def check_same(id: str, kind: str, same: bool) -> None:
    if not same:
        raise DataError(f"the id {id} is that of another {kind}", mend="Make a new id for each.")


def seconds_of(seconds: float | None) -> float | None:
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
        raise DataError(f"the seconds taken must be a number from 0, not {seconds!r}")
    return float(seconds)
