"""What a store tells: rows of rankings, demonstrations and thumbs that count, in the order in which they were
stored."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import func, select
from sqlalchemy.orm import aliased

from dodam.feedback.tables import Candidate, Demonstration, Place, Prompt, Ranking, Table, Thumb, current

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

Row = dict[str, Any]
Kind = Literal["written", "edited", "ranked first"]
FETCHED = 500  # rows that are held in memory


def rankings(session: "Session") -> Iterator[Row]:
    """Every ranking that counts: {"id", "prompt", "answers", "ranks", "all_bad", "annotator", "seconds", "guideline",
    "origins", "shown" and "task" if they are known, "time"}; rank 1 is best, equal ranks are a tie."""
    found = (
        select(Ranking, Prompt.messages, Prompt.task)
        .join(Prompt, Prompt.id == Ranking.prompt)
        .where(current(Ranking))
        .order_by(Ranking.number)
        .execution_options(yield_per=FETCHED)
    )
    with session.execute(found) as result:
        for part in result.partitions():
            places = places_of(session, [ranking.id for ranking, _, _ in part])
            for ranking, messages, task in part:
                yield ranking_row(ranking, messages, task, places[ranking.id])


def places_of(session: "Session", rankings: list[str]) -> dict[str, list[Any]]:
    """For each ranking its places with the text and the origin of the answer."""
    found = (
        select(Place, Candidate.text, Candidate.origin)
        .join(Candidate, Candidate.id == Place.candidate)
        .where(Place.ranking.in_(rankings))
        .order_by(Place.ranking, Place.position)
    )
    places: dict[str, list[Any]] = {ranking: [] for ranking in rankings}
    for place, text, origin in session.execute(found):
        places[place.ranking].append((place, text, origin))
    return places


def ranking_row(ranking: Ranking, messages: list[Any], task: str, places: list[Any]) -> Row:
    shown = [place.shown for place, _, _ in places]
    return {
        "id": ranking.id,
        "prompt": messages,
        "answers": [text for _, text, _ in places],
        "ranks": [place.rank for place, _, _ in places],
        "all_bad": ranking.all_bad,
        "annotator": ranking.annotator,
        "seconds": ranking.seconds,
        "guideline": ranking.guideline,
        "origins": [origin for _, _, origin in places],
        **({} if None in shown else {"shown": shown}),
        **({"task": task} if task else {}),
        "time": time_of(ranking.created),
    }


def demonstrations(session: "Session", kinds: tuple[Kind, ...]) -> Iterator[Row]:
    """{"messages", "kind", "annotator", "id"} of what people wrote, what they edited (with the `original` and its
    `origin`), and what they ranked first."""
    original = aliased(Candidate)
    found = (
        select(Demonstration, Prompt.messages, original.text, original.origin)
        .join(Prompt, Prompt.id == Demonstration.prompt)
        .outerjoin(original, original.id == Demonstration.candidate)
        .where(current(Demonstration))
        .order_by(Demonstration.number)
        .execution_options(yield_per=FETCHED)
    )
    with session.execute(found) as result:
        for row, messages, before, origin in result:
            kind: Kind = "written" if row.candidate is None else "edited"
            if kind in kinds:
                edited = {} if before is None else {"original": before, "origin": origin}
                yield conversation(messages, row.text, kind, row.annotator, row.id) | edited
    if "ranked first" in kinds:
        yield from ranked_first(session)


def ranked_first(session: "Session") -> Iterator[Row]:
    """Answers that a ranking puts first, each once. Of rankings where all is bad or all is equal none is taken."""
    taken: set[tuple[str, str]] = set()
    for row in rankings(session):
        if row["all_bad"] or max(row["ranks"]) == 1:
            continue
        for text, rank in zip(row["answers"], row["ranks"], strict=True):
            key = (repr(row["prompt"]), text)
            if rank == 1 and key not in taken:
                taken.add(key)
                yield conversation(row["prompt"], text, "ranked first", row["annotator"], row["id"])


def conversation(messages: list[Any], answer: str, kind: Kind, annotator: str, id: str) -> Row:
    last = {"role": "assistant", "content": answer}
    return {"messages": [*messages, last], "kind": kind, "annotator": annotator, "id": id}


def thumbs(session: "Session") -> Iterator[Row]:
    """{"id", "prompt", "answer", "up", "annotator", "origin", "time"} of the thumbs that count."""
    found = (
        select(Thumb, Candidate, Prompt.messages)
        .join(Candidate, Candidate.id == Thumb.candidate)
        .join(Prompt, Prompt.id == Candidate.prompt)
        .where(current(Thumb))
        .order_by(Thumb.number)
        .execution_options(yield_per=FETCHED)
    )
    with session.execute(found) as result:
        for thumb, candidate, messages in result:
            yield {
                "id": thumb.id,
                "prompt": messages,
                "answer": candidate.text,
                "up": thumb.up,
                "annotator": thumb.annotator,
                "origin": candidate.origin,
                "time": time_of(thumb.created),
            }


def counts(session: "Session") -> dict[str, int]:
    """How many rows each table has; of what people said, how many count."""
    found: dict[str, int] = {}
    for name in ("prompts", "candidates", "annotators", "conversations"):
        found[name] = session.scalar(select(func.count()).select_from(Table.metadata.tables[name])) or 0
    for name, table in (("rankings", Ranking), ("demonstrations", Demonstration), ("thumbs", Thumb)):
        found[name] = session.scalar(select(func.count()).select_from(table).where(current(table))) or 0
    return found


def time_of(created: float) -> str:
    return datetime.fromtimestamp(created, UTC).isoformat(timespec="milliseconds")
