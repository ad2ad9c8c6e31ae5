"""The feedback store behind the pages: how it is opened for a server, how routes ask it, who may speak in whose name,
and how chats come into it.

In: a store, prompts out of files, a guideline, annotators with their keys. Out: a `Feedback` that the routes share.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from hmac import compare_digest
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from urllib.parse import unquote

from fastapi import Request

from dodam.data.conversation import messages_of
from dodam.data.sources import rows
from dodam.errors import DataError, DodamError, UsageError
from dodam.feedback.conversations import SHORTEST_KEY, check_key, new_key
from dodam.feedback.prompts import add_candidates, add_prompt, text_of
from dodam.feedback.prompts import messages_of as checked_messages
from dodam.feedback.store import open_store
from dodam.generate.sequence import SamplingParams
from dodam.serve.auth import Keys, bearer, digest
from dodam.serve.limits import Rate
from dodam.serve.protocol import APIError
from dodam.serve.reply import Piece

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dodam.feedback.store import Store

logger = logging.getLogger(__name__)

T = TypeVar("T")
Choose = Literal["random", "uncertain"]
SETTINGS = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_tokens", "seed")
LONGEST_KEY = 200


@dataclass(frozen=True)
class Feedback:
    """What the routes share: the store and how it is asked."""

    store: "Store"
    answers: int = 4
    """How many answers are ranked together."""
    choose: Choose = "random"
    guideline: str = ""
    """What annotators are told."""
    version: str = ""
    """The guideline's version in the store."""
    annotators: frozenset[str] = frozenset()
    """Who may rank and write, each by a key; without any, whoever says a name."""
    collect: bool = False
    """Whether chats are stored."""
    rank_chats: bool = False
    """Whether annotators are asked what comes from chats."""
    known: dict[str, bytes] = field(default_factory=dict)
    """Annotators whose key was found right, with its hash: the store takes its time to compare keys, on purpose."""

    unaskable: set[str] = field(default_factory=set)
    """Prompts to which the models served now gave no two different answers, or that do not fit them: left out as long
    as this server runs. That is no judgement of a person, so nothing is stored of it."""

    async def ask(self, act: "Callable[[Store], T]") -> T:
        """Run `act` on the store in a thread. What it refuses is an APIError: 409 for an id that says something else
        already, 400 for what cannot be meant, 503 for a store that is locked, full or gone."""
        try:
            return await asyncio.to_thread(act, self.store)
        except DataError as error:
            taken = "is that of another" in error.what
            raise APIError(409 if taken else 400, str(error), code="id_taken" if taken else None) from None
        except DodamError as error:
            raise APIError(503, str(error), code="store_failed", kind="server_error") from None

    async def collected(
        self,
        pieces: AsyncIterator[Piece],
        key: str,
        messages: list[dict[str, str]],
        origins: list[dict[str, Any]],
    ) -> AsyncIterator[Piece]:
        """The pieces of a chat's answers as they come; each answer is in the store before its last piece goes on. A
        store that fails is told to whoever runs the server, and does not spoil the chat."""
        texts = [""] * len(origins)
        async for piece in pieces:
            texts[piece.index] += piece.text
            if piece.reason is not None and texts[piece.index].strip():
                answer, origin = texts[piece.index], origins[piece.index]
                try:
                    await self.ask(lambda store, a=answer, o=origin: store.collect(key, messages, a, o))
                except APIError as error:
                    logger.warning("a chat was not collected: %s", error)
            yield piece

    def annotator(self, request: Request) -> str:
        """The name in whose name the request speaks. APIError 400 without one, 401 if its key is another."""
        name = unquote(request.headers.get("dodam-annotator", "")).strip()
        if not name:
            raise APIError(400, "The header `Dodam-Annotator` must name the annotator.", code="no_annotator")
        key = bearer(request.headers.get("authorization"))
        if compare_digest(self.known.get(name, b""), digest(key)):
            return name
        try:
            proved = self.store.proves(name, key)
        except DataError as error:
            raise APIError(400, str(error), code="no_annotator") from None
        except DodamError as error:
            raise APIError(503, str(error), code="store_failed", kind="server_error") from None
        if proved is False or (self.annotators and name not in self.annotators):
            raise APIError(401, f"The key is not that of {name}.", code="invalid_annotator_key")
        if proved:
            self.known[name] = digest(key)
        return name


@dataclass(frozen=True)
class Material:
    """What comes into the store when the server starts, read and not yet stored."""

    prompts: list[tuple[str, tuple[Any, list[str], str]]]
    """Where each stands; text or messages, answers that come with it, source."""
    guideline: str
    keys: dict[str, str]
    """Annotators and their keys."""


def read_material(prompts: tuple[str, ...], guideline: str, annotators: tuple[str, ...]) -> Material:
    """Read the files that flags name. DataError names file and line, UsageError the flag."""
    found = [one for path in prompts for one in read_prompts(path)]
    for where, (prompt, answers, _) in found:
        try:
            checked_messages(prompt)
            for answer in answers:
                text_of(answer, "an answer")
        except DataError as error:
            raise DataError(error.what, where=where, mend=error.mend) from None
    return Material(found, guideline_text(guideline), dict(named_keys(annotators)))


def open_feedback(
    store: str, material: Material, *, answers: int, choose: Choose, collect: bool, rank_chats: bool
) -> Feedback:
    """Open the store, made if there is none, and put the material in."""

    def put(session: "Session") -> None:
        for _, (messages, given, source) in material.prompts:
            add_candidates(session, add_prompt(session, messages, source=source), given)

    opened = open_store(store, create=True)
    try:
        opened.database.write(put)
        for name, key in material.keys.items():
            opened.set_key(name, key)
        version = opened.add_guideline(material.guideline) if material.guideline else ""
    except BaseException:
        opened.close()
        raise
    told = {"guideline": material.guideline, "version": version, "annotators": frozenset(material.keys)}
    return Feedback(opened, answers=answers, choose=choose, collect=collect, rank_chats=rank_chats, **told)


def num_uncertain(store: "Store") -> int:
    """Of how many prompts it is known how little the reward model knows about them."""
    from sqlalchemy import func, select

    from dodam.feedback.tables import Prompt

    with store.database.read() as session:
        return session.scalar(select(func.count(Prompt.uncertainty))) or 0


def named_keys(annotators: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """`NAME=KEY` each; UsageError for what is not."""
    for given in annotators:
        name, mark, key = (part.strip() for part in given.partition("="))
        if not (name and mark and key):
            raise UsageError(f"{given!r} is not NAME=KEY", where="--annotator")
        yield name, key


def guideline_text(given: str) -> str:
    """A file's text, or the text itself. UsageError for a file that cannot be read, and for what looks like one that is
    not there."""
    path = Path(given)
    try:
        if given and path.is_file():
            return path.read_text(encoding="utf-8-sig").strip()
    except OSError as error:  # a long text is no path
        if error.filename is not None and len(given) < 200:
            raise UsageError(f"cannot be read: {error.strerror}", where=given) from None
    except ValueError as error:
        raise UsageError(f"is not UTF-8 ({error})", where=given, mend="Save the file as UTF-8.") from None
    if path.suffix in (".md", ".txt") and len(given.split()) == 1:
        raise UsageError("there is no such file", where=f"--guideline {given}")
    return given.strip()


def read_prompts(path: str) -> Iterator[tuple[str, tuple[Any, list[str], str]]]:
    """Where each prompt stands, and (text or messages, answers that come with it, source). A line of a .txt file is a
    prompt; a row has `prompt` and perhaps `answers`, or is a conversation of which the last question is asked."""
    source = Path(path).name
    if Path(path).suffix == ".txt":
        try:
            lines = Path(path).read_text(encoding="utf-8-sig").split("\n")  # a prompt may hold U+2028
        except OSError as error:
            raise DataError(f"cannot be read: {error.strerror}", where=path) from None
        except ValueError:
            raise DataError("is not UTF-8", where=path, mend="Save the file as UTF-8.") from None
        found = [
            (f"{path}:{number}", (line.strip(), [], source)) for number, line in enumerate(lines, 1) if line.strip()
        ]
    else:
        found = [(where, (*prompt_of(row, where), source)) for where, row in rows(path)]
    if not found:
        raise DataError("there is no prompt here", where=path)
    yield from found


def prompt_of(row: Mapping[str, Any], where: str) -> tuple[Any, list[str]]:
    """The prompt of a row, and the answers that come with it."""
    if isinstance(row.get("prompt"), str | list):
        answers = row.get("answers") or []
        if not isinstance(answers, list) or not all(isinstance(answer, str) for answer in answers):
            raise DataError("`answers` must be a list of texts", where=where)
        return row["prompt"], answers
    messages = messages_of(dict(row), {}, where)
    while messages and messages[-1]["role"] != "user":
        messages = messages[:-1]
    return messages, []


def conversation_key(headers: Mapping[str, str]) -> str:
    """The deletion key that the client has chosen for its conversation, or a new one. APIError for one that is too
    short or too easily guessed."""
    key = headers.get("dodam-conversation", "").strip() or new_key()
    if not SHORTEST_KEY <= len(key) <= LONGEST_KEY:
        raise APIError(400, f"`Dodam-Conversation` must have {SHORTEST_KEY} to {LONGEST_KEY} characters.")
    try:
        check_key(key)
    except DataError as error:
        raise APIError(400, f"`Dodam-Conversation`: {error}") from None
    return key


def origin_of(model: str, known: Mapping[str, Any], params: SamplingParams) -> dict[str, Any]:
    """Where an answer came from: the model, what is known of its weights, the settings it was sampled with."""
    values = asdict(params)
    settings = {name: values[name] for name in SETTINGS if values[name] is not None}
    return {"model": model, **known, "sampling": settings}


def admit_annotator(feedback: Feedback, keys: Keys, rate: Rate) -> Callable[[Request], str]:
    """A dependency that gives the annotator's name. An annotator's own key opens these routes as well as the API's.
    Requests are counted by a name only where a key proves it: another name is soon said."""

    def admit(request: Request) -> str:
        address = request.client.host if request.client else "unknown"
        try:
            name = feedback.annotator(request)
            client = f"annotator {name}"
            if name not in feedback.known:
                client = keys.check(request.headers.get("authorization")) or address
        except APIError as error:
            rate.check(f"wrong key {address}" if error.status == 401 else address)
            raise
        rate.check(client)
        return name

    return admit
