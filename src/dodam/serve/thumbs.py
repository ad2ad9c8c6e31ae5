"""The chat page's routes under /api/feedback: whether there is a store, thumbs, regenerated answers, deletion by key.

What is said in a chat is stored with personal data masked and under the deletion key of its conversation, whether all
of it is collected or only what a person has judged.
"""

import asyncio
from typing import Literal

from fastapi import APIRouter, Depends, Request
from fastapi.security import HTTPBearer
from pydantic import BaseModel, Field, ValidationError

from dodam.feedback.conversations import SHORTEST_KEY
from dodam.feedback.store import Store
from dodam.serve.feedback import LONGEST_KEY, Feedback, origin_of
from dodam.serve.protocol import APIError, ChatCompletion, sampling_params
from dodam.serve.rank import Id, Turn
from dodam.serve.routes import Service, admission

MOST_VERSIONS = 26  # of one answer

Setting = Literal["temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_tokens", "seed"]


class Chatted(BaseModel):
    """What was said in a chat, the deletion key of its conversation, and how the answer was sampled."""

    conversation: str = Field(min_length=SHORTEST_KEY, max_length=LONGEST_KEY)
    messages: list[Turn] = Field(min_length=1)
    model: str
    sampling: dict[Setting, float] = {}

    def origin(self, service: Service) -> dict:
        """As `origin_of` has it for an answer that the server has just given. APIError for settings it would refuse."""
        served = service.find(self.model)
        asked = {"model": self.model, "messages": [message.model_dump() for message in self.messages]}
        try:
            params = sampling_params(ChatCompletion.model_validate(asked | self.sampling), service.defaults, 0)
        except ValidationError as error:
            raise APIError(400, f"`sampling`: {error.errors()[0]['msg']}.", param="sampling") from None
        return origin_of(self.model, served.origin, params)


class ThumbBody(Chatted):
    """Up or down for an answer of a chat."""

    id: str = Id
    answer: str = Field(min_length=1)
    up: bool


class CandidatesBody(Chatted):
    """Answers to the same question of a chat, regenerated ones included."""

    answers: list[str] = Field(min_length=1, max_length=MOST_VERSIONS)


class DeleteBody(BaseModel):
    """The key of a conversation that is to be deleted."""

    key: str = Field(min_length=1, max_length=LONGEST_KEY)


def make_thumbs_router(service: Service) -> APIRouter:
    """The routes for whoever chats. Without a store there is only the one that says so."""
    feedback = service.feedback
    guards = [Depends(HTTPBearer(auto_error=False)), Depends(admission(service))]
    router = APIRouter(prefix="/api/feedback")

    @router.get("")
    async def about() -> dict:
        return describe(feedback)

    if feedback is None:
        return router
    store_of = feedback

    @router.post("/thumbs", dependencies=guards)
    async def thumb(body: ThumbBody, request: Request) -> dict:
        origin = body.origin(service)
        name = await asyncio.to_thread(name_of, store_of, request)

        def act(store: Store) -> dict:
            _, answer = store.collect(body.conversation, plain(body.messages), body.answer, origin)
            saved = store.add_thumb(id=body.id, answer=answer, up=body.up, annotator=name)
            return {"id": saved.id, "new": saved.new}

        return await store_of.ask(act)

    @router.post("/candidates", dependencies=guards)
    async def candidates(body: CandidatesBody) -> dict:
        origin = body.origin(service)

        def act(store: Store) -> dict:
            stored = [store.collect(body.conversation, plain(body.messages), text, origin) for text in body.answers]
            return {"prompt": stored[0][0], "answers": [answer for _, answer in stored]}

        return await store_of.ask(act)

    @router.post("/delete", dependencies=guards)
    async def delete(body: DeleteBody) -> dict:
        gone = await store_of.ask(lambda store: store.delete_by_key(body.key))
        return {"prompts": gone.prompts, "answers": gone.answers, "rankings": len(gone.rankings)}

    return router


def describe(feedback: Feedback | None) -> dict:
    """What a page must know before anybody has said who they are."""
    if feedback is None:
        return {"feedback": False, "collect": False, "rank_chats": False, "keys": False}
    return {
        "feedback": True,
        "collect": feedback.collect,
        "rank_chats": feedback.rank_chats,
        "keys": bool(feedback.annotators),
    }


def name_of(feedback: Feedback, request: Request) -> str:
    """The annotator who chats; nobody, where no name is said or the key is not that name's."""
    try:
        return feedback.annotator(request)
    except APIError as error:
        if error.status >= 500:
            raise
        return ""


def plain(messages: list[Turn]) -> list[dict[str, str]]:
    return [message.model_dump() for message in messages]
