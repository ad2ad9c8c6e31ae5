"""The routes of /rank and /write under /api/feedback: what to judge next, what was judged, and what was written.

Bodies come in checked by pydantic. What they say is acknowledged once the store has it; the page makes the ids, so that
what it sends again, because no acknowledgement came, is stored once. Where an answer came from is never told.
"""

from typing import TYPE_CHECKING, Any, Literal

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field, model_validator

from dodam.errors import DataError
from dodam.feedback.judgements import add_demonstration, add_ranking, undo
from dodam.feedback.store import Store
from dodam.serve.candidates import beginning, candidates_of, chat_models, sample, served_weights, to_rank
from dodam.serve.feedback import Feedback, admit_annotator
from dodam.serve.protocol import APIError
from dodam.serve.routes import CLIENT_LEFT, Left, Service, failure
from dodam.serve.worker import Stopped

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

MOST_ANSWERS = 9  # as many as there are keys 1-9
MOST_SKIPPED = 20  # prompts that cannot be ranked, in one request

Id = Field(min_length=8, max_length=64, pattern="^[0-9A-Za-z_-]+$")


class Edit(BaseModel):
    """An answer as the annotator would have it."""

    id: str
    text: str = Field(min_length=1)


class RankingBody(BaseModel):
    """A ranking: `ranks` belong to the answers as they were `shown`; 1 is best, equal is a tie."""

    id: str = Id
    prompt: str
    shown: list[str] = Field(min_length=2, max_length=MOST_ANSWERS)
    ranks: list[int]
    all_bad: bool = False
    edits: list[Edit] = Field([], max_length=MOST_ANSWERS)
    seconds: float = Field(ge=0, allow_inf_nan=False)


class UndoBody(BaseModel):
    """A ranking to take back, with the answers that were edited in it."""

    id: str = Id
    edits: list[str] = Field([], max_length=MOST_ANSWERS)


class PromptBody(BaseModel):
    """A prompt of the store."""

    prompt: str


class Turn(BaseModel):
    """One message of a prompt."""

    role: Literal["system", "user", "assistant"]
    content: str


class AnyPrompt(BaseModel):
    """A prompt of the store, or the messages of one's own."""

    prompt: str | None = None
    messages: list[Turn] | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def check_one(self) -> "AnyPrompt":
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("needs either `prompt` or `messages`")
        return self

    def stored(self, store: Store) -> str:
        """Its id in the store, where one's own is put first."""
        if self.prompt is not None:
            return self.prompt
        return store.add_prompt([message.model_dump() for message in self.messages or []], source="written")


class DemonstrationBody(AnyPrompt):
    """An answer that a person wrote, or made of the candidate `edited`."""

    id: str = Id
    text: str = Field(min_length=1)
    edited: str | None = None
    seconds: float = Field(ge=0, allow_inf_nan=False)


def make_rank_router(service: Service, feedback: Feedback) -> APIRouter:
    """The routes for annotators."""
    router = APIRouter(prefix="/api/feedback")
    annotator = Depends(admit_annotator(feedback, service.keys, service.rate))

    @router.get("/guideline")
    async def guideline(name: str = annotator) -> dict:
        return {"version": feedback.version, "text": feedback.guideline}

    @router.post("/next")
    async def next_prompt(request: Request, name: str = annotator) -> Any:
        return await next_task(service, feedback, name, request)

    @router.post("/rankings")
    async def ranking(body: RankingBody, name: str = annotator) -> dict:
        return await feedback.ask(lambda store: store_ranking(store, body, name, feedback.version))

    @router.post("/undo")
    async def take_back(body: UndoBody, name: str = annotator) -> dict:
        return await feedback.ask(lambda store: undo_ranking(store, body, name))

    @router.post("/skip")
    async def skip(body: PromptBody, name: str = annotator) -> dict:
        await feedback.ask(lambda store: store.skip(body.prompt, name))
        return {"prompt": body.prompt}

    @router.post("/unskip")
    async def unskip(body: PromptBody, name: str = annotator) -> dict:
        await feedback.ask(lambda store: store.unskip(body.prompt, name))
        return {"prompt": body.prompt}

    @router.post("/write")
    async def prompt_to_write(name: str = annotator) -> dict:
        among: Any = {"purpose": "write", "chats": feedback.rank_chats}
        asked = await feedback.ask(lambda store: store.next_prompt(name, feedback.choose, **among))
        return {"prompt": asked and asked.id, "messages": asked and asked.messages}

    @router.post("/sample")
    async def sampled(body: AnyPrompt, request: Request, name: str = annotator) -> Any:
        return await sampled_answer(service, feedback, await feedback.ask(body.stored), request)

    @router.post("/demonstrations")
    async def demonstration(body: DemonstrationBody, name: str = annotator) -> dict:
        def act(store: Store) -> dict:
            said = {"text": body.text, "edited": body.edited, "seconds": body.seconds, "guideline": feedback.version}
            saved = store.add_demonstration(id=body.id, prompt=body.stored(store), annotator=name, **said)
            return {"id": saved.id, "new": saved.new}

        return await feedback.ask(act)

    return router


async def sampled_answer(service: Service, feedback: Feedback, prompt: str, request: Request) -> Any:
    """One answer of the served models to a prompt of the store, to be edited. APIError if it is empty."""
    asked = await feedback.ask(lambda store: store.prompt(prompt))
    try:
        ids = await sample(service, feedback, prompt, asked.messages, {chat_models(service)[0]: 1}, request)
    except Left:
        return Response(status_code=CLIENT_LEFT)
    except Stopped as error:
        raise failure(error) from None
    if not ids:
        raise APIError(400, f"The model has answered nothing to {beginning(asked.messages)}", code="few_answers")
    asked = await feedback.ask(lambda store: store.prompt(prompt))
    (text,) = (answer.text for answer in asked.answers if answer.id == ids[0])
    return {"prompt": prompt, "id": ids[0], "text": text}


async def next_task(service: Service, feedback: Feedback, name: str, request: Request) -> Any:
    """A prompt with answers to rank, how far the annotator is, and what was left out because it could not be asked. A
    prompt that was ranked with answers of other models than are served now is asked again."""
    told: list[str] = []
    weights = served_weights(service)
    try:
        while True:
            among: dict[str, Any] = {
                "weights": weights,
                "without": tuple(feedback.unaskable),
                "chats": feedback.rank_chats,
            }
            asked = await feedback.ask(lambda store, among=among: store.next_prompt(name, feedback.choose, **among))
            answers = []
            try:
                if asked is not None:
                    answers = await to_rank(service, feedback, asked, name, request)
                break
            except APIError as error:
                if error.body["error"]["param"] != "messages" or asked is None or len(told) == MOST_SKIPPED:
                    raise  # it is not the prompt's fault
                told.append(str(error))
                feedback.unaskable.add(asked.id)
                await feedback.ask(lambda store, prompt=asked.id: store.release(prompt, name))
    except Left:
        return Response(status_code=CLIENT_LEFT)
    except Stopped as error:
        raise failure(error) from None
    among = {"weights": weights, "without": tuple(feedback.unaskable), "chats": feedback.rank_chats}
    done = await feedback.ask(lambda store: store.progress(name, **among))
    task = asked and {
        "prompt": asked.id,
        "messages": asked.messages,
        "answers": [{"id": answer.id, "text": answer.text} for answer in answers],
    }
    progress = {"mine": done.done, "left": done.total - done.done - done.skipped}
    return {"task": task, "progress": progress, "skipped": told}


def store_ranking(store: Store, body: RankingBody, annotator: str, guideline: str) -> dict:
    """The ranking with its edits, all of it or nothing. Candidates that say the same have the same rank and place."""
    who = {"annotator": annotator, "guideline": guideline, "prompt": body.prompt}
    if len(body.ranks) != len(body.shown):
        raise DataError(f"there are {len(body.shown)} answers and {len(body.ranks)} ranks")
    places = [(one, place) for place, shown in enumerate(body.shown) for one in candidates_of(shown)]

    def work(session: "Session") -> dict:
        for edit in body.edits:
            edited = candidates_of(edit.id)[0]
            add_demonstration(session, id=edit_id(body.id, edited), text=edit.text, edited=edited, **who)
        said = {
            "answers": [one for one, _ in places],
            "ranks": [body.ranks[place] for _, place in places],
            "shown": [place for _, place in places],
        }
        saved = add_ranking(session, id=body.id, all_bad=body.all_bad, seconds=body.seconds, **said, **who)
        return {"id": saved.id, "new": saved.new, "supersedes": saved.supersedes}

    return store.database.write(work)


def undo_ranking(store: Store, body: UndoBody, annotator: str) -> dict:
    """Take the ranking and its edits back, all of it or nothing."""

    def work(session: "Session") -> dict:
        for edit in body.edits:
            undo(session, edit_id(body.id, candidates_of(edit)[0]), annotator)
        return {"id": body.id, "was": undo(session, body.id, annotator)}

    return store.database.write(work)


def edit_id(ranking: str, answer: str) -> str:
    """The id of the demonstration that an edit within a ranking is."""
    return f"{ranking}:{answer}"
