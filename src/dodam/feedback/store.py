"""A feedback store: everything that people say about answers, in one SQLite file or a PostgreSQL database.

`open_store` opens (and migrates) it. Each method is one transaction: when it returns, what it wrote is on the disk;
when it raises, nothing was written. Any number of threads and processes may use a store at once.
"""

import hashlib
import hmac
import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dodam.errors import UsageError
from dodam.feedback.database import Database, is_url, open_database
from dodam.feedback.sqlite import is_sqlite_store

if TYPE_CHECKING:
    from dodam.feedback.conversations import Deleted
    from dodam.feedback.judgements import Saved
    from dodam.feedback.prompts import Asked, Choice, Progress, Purpose
    from dodam.feedback.rows import Kind

DEFAULT = "feedback.sqlite"
PARTS: "dict[str, Kind]" = {"written": "written", "edited": "edited", "ranked": "ranked first"}
"""What may follow a store's name behind `#`, and the kind of demonstrations it means."""

KINDS: "tuple[Kind, ...]" = ("written", "edited", "ranked first")
GUIDELINE_DIGITS = 8


def is_store(path: str) -> bool:
    """Whether `path` names a feedback store: an SQLite file of ours, or the URL of a database."""
    return is_url(path) or is_sqlite_store(Path(path).expanduser())


def selection(path: str) -> "tuple[str, tuple[Kind, ...]] | None":
    """`feedback.sqlite#edited` -> the store and the kinds of demonstrations that are meant, all without a `#`; None
    if it is no store. UsageError for a part that is not known."""
    if is_store(path) and not (is_url(path) and "#" in path):
        return path, KINDS
    store, mark, part = path.rpartition("#")
    if not mark or not is_store(store):
        return None
    if part not in PARTS:
        known = ", ".join(f"#{name}" for name in PARTS)
        raise UsageError(f"a store has no part `{part}`", where="--data", mend=f"Known: {known}.")
    return store, (PARTS[part],)


def open_store(path_or_url: str | Path, *, create: bool = False) -> "Store":
    """Open a store, migrated to the newest version. FolderError if it is missing (unless `create`), no store, or newer;
    StorageError if it cannot be opened or written."""
    return Store(open_database(str(path_or_url), create=create))


class Store:
    """An open feedback store. See the file's head."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @property
    def where(self) -> str:
        """Its path, or its URL without the password."""
        return self.database.where

    def close(self) -> None:
        self.database.close()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Annotators and guidelines

    def set_key(self, name: str, key: str) -> None:
        """Give an annotator (new or known) a key; only its hash is kept."""
        from dodam.feedback.prompts import add_annotator

        salt = secrets.token_bytes(16)
        hashed = f"{salt.hex()}${scrypt(key, salt).hex()}"

        def work(session: Any) -> None:
            add_annotator(session, name).key_hash = hashed

        self.database.write(work)

    def admits(self, name: str, key: str = "") -> bool:
        """Whether this key opens the store for the annotator; one without a key, or not yet known, needs none."""
        return self.proves(name, key) is not False

    def proves(self, name: str, key: str) -> bool | None:
        """Whether the key is the annotator's; None for one who has none, so that a name is only a name."""
        from dodam.feedback.prompts import spelt
        from dodam.feedback.tables import Annotator

        with self.database.read() as session:
            found = session.get(Annotator, spelt(name))
            hashed = found.key_hash if found else None
        if hashed is None:
            return None
        salt, _, digest = hashed.partition("$")
        return hmac.compare_digest(scrypt(key, bytes.fromhex(salt)).hex(), digest)

    def annotators(self) -> list[str]:
        """The names of those who are known."""
        from sqlalchemy import select

        from dodam.feedback.tables import Annotator

        with self.database.read() as session:
            found = select(Annotator.name).where(Annotator.name != "").order_by(Annotator.name)
            return list(session.scalars(found))

    def add_guideline(self, text: str) -> str:
        """Store what annotators are told, and return its version: it follows from the text."""
        from dodam.feedback.database import now
        from dodam.feedback.prompts import hash_of, text_of
        from dodam.feedback.tables import Guideline

        text = text_of(text, "the guideline")
        version = hash_of(text)[:GUIDELINE_DIGITS]

        def work(session: Any) -> str:
            if session.get(Guideline, version) is None:
                session.add(Guideline(version=version, text=text, created=now()))
            return version

        return self.database.write(work)

    # Prompts and answers

    def add_prompt(self, prompt: "str | list[dict[str, str]]", *, task: str = "", source: str = "") -> str:
        """Store a prompt, a text or messages that end with the user's; returns its id. The same prompt is stored
        once."""
        from dodam.feedback import prompts

        return self.database.write(lambda session: prompts.add_prompt(session, prompt, task=task, source=source))

    def add_candidates(
        self, prompt: str, answers: Sequence[str], origins: Sequence[Mapping[str, Any]] | None = None
    ) -> list[str]:
        """Store answers to a prompt with their origins ({"model", "step", "sampling"}); returns their ids, in order.
        The same text of the same origin is one candidate. DataError for an empty answer or an unknown prompt."""
        from dodam.feedback import prompts

        return self.database.write(lambda session: prompts.add_candidates(session, prompt, answers, origins))

    def prompt(self, id: str) -> "Asked":
        """A prompt with its answers. DataError if it is not there."""
        from dodam.feedback.prompts import asked

        with self.database.read() as session:
            return asked(session, id)

    def prompts(self) -> "Iterator[Asked]":
        """All prompts with their answers, oldest first."""
        from dodam.feedback.prompts import all_asked

        with self.database.read() as session:
            yield from all_asked(session)

    def next_prompt(
        self,
        annotator: str,
        choice: "Choice" = "random",
        *,
        purpose: "Purpose" = "rank",
        weights: Collection[str] = (),
        without: Collection[str] = (),
        chats: bool = True,
        lease: float = 900.0,
    ) -> "Asked | None":
        """Lend the annotator a prompt: the one they have open, else one with the fewest rankings that they have not
        done or skipped and nobody else has open; `uncertain` prefers what the reward model knows least. With `weights`,
        those of the models that answer now, rankings of other models' answers do not count; prompts in `without` are
        left out, and those of chats unless `chats`. None: all done."""
        from dodam.feedback import prompts

        choices: dict[str, Any] = {"purpose": purpose, "weights": weights, "without": without}
        choices |= {"chats": chats, "lease": lease}
        return self.database.write(lambda session: prompts.next_prompt(session, annotator, choice, **choices))

    def release(self, prompt: str, annotator: str) -> None:
        """Give a prompt back that was not done."""
        from dodam.feedback import prompts

        self.database.write(lambda session: prompts.release(session, prompt, annotator))

    def skip(self, prompt: str, annotator: str) -> None:
        """The annotator is not asked this prompt again."""
        from dodam.feedback import prompts

        self.database.write(lambda session: prompts.skip(session, prompt, annotator))

    def unskip(self, prompt: str, annotator: str) -> None:
        """Take a skip back and open the prompt again."""
        from dodam.feedback import prompts

        self.database.write(lambda session: prompts.unskip(session, prompt, annotator))

    def progress(
        self,
        annotator: str,
        *,
        purpose: "Purpose" = "rank",
        weights: Collection[str] = (),
        without: Collection[str] = (),
        chats: bool = True,
    ) -> "Progress":
        """How many of the prompts the annotator has done and skipped, as `next_prompt` counts."""
        from dodam.feedback import prompts

        with self.database.read() as session:
            return prompts.progress(session, annotator, purpose=purpose, weights=weights, without=without, chats=chats)

    def set_uncertainty(self, values: Mapping[str, float]) -> set[str]:
        """How little the reward model knows about prompts, by their ids; returns the ids that are gone."""
        from dodam.feedback import prompts

        return self.database.write(lambda session: prompts.set_uncertainty(session, values))

    # What people say

    def add_ranking(
        self,
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
    ) -> "Saved":
        """Store a ranking of candidates (`answers` are their ids): rank 1 is best, equal is a tie; `shown` is each
        answer's place on the screen, from 0. The same `id` again is the same ranking; the same annotator on the same
        answers again supersedes. DataError names what cannot be meant."""
        from dodam.feedback import judgements

        return self.database.write(
            lambda session: judgements.add_ranking(
                session,
                id=id,
                prompt=prompt,
                answers=answers,
                ranks=ranks,
                annotator=annotator,
                all_bad=all_bad,
                seconds=seconds,
                guideline=guideline,
                shown=shown,
            )
        )

    def add_demonstration(
        self,
        *,
        id: str,
        prompt: str,
        text: str,
        annotator: str,
        edited: str | None = None,
        supersedes: str | None = None,
        seconds: float | None = None,
        guideline: str = "",
    ) -> "Saved":
        """Store an answer that a person wrote; `edited` is the id of the candidate it was made of. A correction names
        the demonstration it `supersedes`."""
        from dodam.feedback import judgements

        return self.database.write(
            lambda session: judgements.add_demonstration(
                session,
                id=id,
                prompt=prompt,
                text=text,
                annotator=annotator,
                edited=edited,
                supersedes=supersedes,
                seconds=seconds,
                guideline=guideline,
            )
        )

    def add_thumb(self, *, id: str, answer: str, up: bool, annotator: str = "") -> "Saved":
        """Store a thumb for a candidate; the same person's earlier one is superseded."""
        from dodam.feedback import judgements

        return self.database.write(
            lambda session: judgements.add_thumb(session, id=id, answer=answer, up=up, annotator=annotator)
        )

    def undo(self, id: str, annotator: str) -> Literal["ranking", "demonstration", "thumb"]:
        """Take back what the annotator said under an id: it is marked, what it had superseded counts again, and the
        prompt is open once more. Returns what it was."""
        from dodam.feedback import judgements

        return self.database.write(lambda session: judgements.undo(session, id, annotator))

    # Collected chats

    def collect(
        self, key: str, messages: "str | list[dict[str, str]]", answer: str, origin: Mapping[str, Any]
    ) -> tuple[str, str]:
        """Store one turn of a chat under a deletion key (`conversations.new_key()`), personal data masked; returns
        the ids of prompt and answer."""
        from dodam.feedback import conversations

        return self.database.write(lambda session: conversations.collect(session, key, messages, answer, origin))

    def delete_by_key(self, key: str) -> "Deleted":
        """Delete a conversation for good, with the rankings, demonstrations and thumbs of its answers."""
        from dodam.feedback import conversations

        deleted = self.database.write(lambda session: conversations.delete_by_key(session, key))
        self.database.forget()
        return deleted

    # Reading

    def rankings(self) -> Iterator[dict[str, Any]]:
        """The rankings that count, in the form of docs/feedback.md."""
        from dodam.feedback import rows

        with self.database.read() as session:
            yield from rows.rankings(session)

    def demonstrations(self, kinds: "tuple[Kind, ...]" = KINDS) -> Iterator[dict[str, Any]]:
        """{"messages", "kind", "annotator", "id"}: what was written, edited and ranked first."""
        from dodam.feedback import rows

        with self.database.read() as session:
            yield from rows.demonstrations(session, kinds)

    def thumbs(self) -> Iterator[dict[str, Any]]:
        """The thumbs that count."""
        from dodam.feedback import rows

        with self.database.read() as session:
            yield from rows.thumbs(session)

    def counts(self) -> dict[str, int]:
        """How many rows there are of each kind; of what people said, how many count."""
        from dodam.feedback import rows

        with self.database.read() as session:
            return rows.counts(session)


def scrypt(key: str, salt: bytes) -> bytes:
    return hashlib.scrypt(key.encode(), salt=salt, n=1 << 14, r=8, p=1, dklen=32)
