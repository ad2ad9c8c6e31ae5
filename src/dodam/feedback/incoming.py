"""Command `feedback import`: JSONL files -> a store. Rankings, pairs, demonstrations, answers to rank, prompts to ask.

All rows are read and checked before the first is stored. They are stored some hundreds at a time, so that annotators at
work on the same store do not wait; what was stored before a kill is recognised when the same command is given again.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from annotated_types import MinLen

from dodam.errors import DataError

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dodam.feedback.forms import Entry

AT_ONCE = 100
KINDS = ("rankings", "demonstrations", "answers to rank", "prompts to ask")


@dataclass(frozen=True, kw_only=True)
class FeedbackImport:
    """Bring rankings, pairs, demonstrations and prompts into a store."""

    positional: ClassVar[tuple[str, ...]] = ("store", "data")

    store: str
    """The feedback store: an SQLite file, made if there is none, or the URL of a PostgreSQL database."""
    data: Annotated[tuple[Path, ...], MinLen(1)]
    """JSONL files. Their form is found out row by row."""


def run(config: FeedbackImport) -> dict[str, Any]:
    """Store the rows; returns how many of each kind were new, were there already, and superseded others."""
    from dodam.feedback.store import open_store

    entries = [entry for path in config.data for entry in read(path)]
    if not entries:
        raise DataError("there are no rows here", where=", ".join(map(str, config.data)))
    counted: Counter[str] = Counter()
    with open_store(config.store, create=True) as store:
        for first in range(0, len(entries), AT_ONCE):
            part = entries[first : first + AT_ONCE]
            counted += store.database.write(lambda session, part=part: store_all(session, part))
    told = ", ".join(f"{counted[kind]} {kind}" for kind in KINDS if counted[kind])
    print(
        f"feedback import: {told or 'nothing'} new in {store.where}; {counted['known']} were there already, "
        f"{counted['superseded']} superseded others.",
        file=sys.stderr,
    )
    result = {kind.replace(" ", "_"): counted[kind] for kind in (*KINDS, "known", "superseded")}
    return {"store": store.where, "rows": len(entries), **result}


def read(path: Path) -> "Iterator[tuple[str, Entry]]":
    """The entries of a JSONL file, each with FILE:LINE. DataError names the first line that is none."""
    from dodam.feedback.forms import entry

    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                where = f"{path}:{number}"
                if not line.strip():
                    continue
                try:
                    yield where, entry(json.loads(line))
                except (ValueError, RecursionError) as error:
                    raise DataError(f"is not JSON ({error})", where=where) from None
                except DataError as error:
                    raise DataError(error.what, where=where, mend=error.mend) from None
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", where=str(path)) from None
    except UnicodeDecodeError:
        raise DataError("is not UTF-8", where=str(path), mend="Save the file as UTF-8.") from None


def store_all(session: "Session", part: "list[tuple[str, Entry]]") -> Counter[str]:
    """Store entries, and count what became of them."""
    counted: Counter[str] = Counter()
    for where, entry in part:
        try:
            counted.update(store_one(session, entry, Path(where.rpartition(":")[0]).name))
        except DataError as error:
            raise DataError(error.what, where=where, mend=error.mend) from None
    return counted


def store_one(session: "Session", entry: "Entry", source: str) -> Iterator[str]:
    """Store one entry; yields what to count."""
    from dodam.feedback.judgements import add_demonstration, add_ranking
    from dodam.feedback.prompts import add_candidates, add_prompt, has_candidates, has_prompt

    said = {
        "id": entry.id,
        "annotator": entry.annotator,
        "seconds": entry.seconds,
        "guideline": entry.guideline,
        "created": entry.created,
    }
    known = has_prompt(session, entry.prompt)
    prompt = add_prompt(session, entry.prompt, task=entry.task, source=source)
    if entry.demonstration is not None:
        edited = None if entry.original is None else add_candidates(session, prompt, [entry.original], entry.origins)[0]
        saved = add_demonstration(session, prompt=prompt, text=entry.demonstration, edited=edited, **said)
        yield "demonstrations" if saved.new else "known"
        return
    known = known and has_candidates(session, prompt, entry.answers, entry.origins)
    answers = add_candidates(session, prompt, entry.answers, entry.origins)
    if entry.ranks is None:
        yield "known" if known else "answers to rank" if answers else "prompts to ask"
        return
    saved = add_ranking(
        session,
        prompt=prompt,
        answers=answers,
        ranks=entry.ranks,
        all_bad=entry.all_bad,
        shown=entry.shown,
        **said,
    )
    yield "rankings" if saved.new else "known"
    if saved.new and saved.supersedes:
        yield "superseded"
