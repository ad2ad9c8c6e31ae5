"""The answers that are ranked together: those that came with the prompt, or the served models', sampled when missing.

In: a prompt of the store. Out: answers in an order that is shuffled, the same whenever this annotator is asked again.
Every sampled answer is in the store with its origin before anybody sees it.
"""

import asyncio
import hashlib
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import Request

from dodam.data.text import clean
from dodam.files import xxh3
from dodam.generate.engine import Answer
from dodam.serve.feedback import Feedback, origin_of
from dodam.serve.protocol import APIError
from dodam.serve.routes import Service, chat_prompt, read, submit

if TYPE_CHECKING:
    from dodam.feedback.prompts import Answer as Candidate
    from dodam.feedback.prompts import Asked

ROUNDS = 3  # of sampling, until enough answers differ
SHOWN_OF_PROMPT = 60  # characters of a prompt in a message about it


def weights_of(folder: Path) -> str:
    """What tells one checkpoint from another of the same name: a checksum of its weights."""
    sums = [xxh3(file) for file in sorted(folder.glob("*.safetensors"))]
    return hashlib.sha256(" ".join(sums).encode()).hexdigest()[:12]


async def to_rank(
    service: Service, feedback: Feedback, asked: "Asked", annotator: str, request: Request
) -> "list[Candidate]":
    """Answers to the prompt, shuffled. APIError `few_answers` if fewer than two differ, `context_length_exceeded` if
    the prompt does not fit the model."""
    chance = random.Random(f"{asked.id} {annotator}")
    given = distinct([answer for answer in asked.answers if "weights" not in answer.origin])
    found = given if len(given) >= 2 else ours(service, asked.answers)
    for _ in range(ROUNDS):
        if found is given or len(found) >= feedback.answers:
            break
        await sample(service, feedback, asked.id, asked.messages, feedback.answers - len(found), request)
        found = ours(service, (await feedback.ask(lambda store: store.prompt(asked.id))).answers)
    if len(found) < 2:
        message = f"There are no two different answers to {beginning(asked.messages)}"
        raise APIError(400, message, code="few_answers", param="messages")
    return chance.sample(found, min(len(found), feedback.answers))


def ours(service: Service, answers: "Sequence[Candidate]") -> "list[Candidate]":
    """Those that the served models gave, as they are now."""
    weights = {served.origin.get("weights") for served in service.models.values()}
    return distinct([answer for answer in answers if answer.origin.get("weights") in weights])


def distinct(answers: "Sequence[Candidate]") -> "list[Candidate]":
    """One of each text."""
    return list({answer.text: answer for answer in reversed(answers)}.values())[::-1]


async def sample(
    service: Service,
    feedback: Feedback,
    prompt: str,
    messages: list[dict[str, str]],
    number: int,
    request: Request,
) -> list[str]:
    """Let the served models answer in turn, and store what they say; the ids of the answers that are not empty."""
    names = [name for name, served in service.models.items() if served.tokenizer.chat_template is not None]
    shares = {name: len(range(place, number, len(names))) for place, name in enumerate(names)}
    texts: list[str] = []
    origins: list[Mapping[str, Any]] = []
    for name, answers in zip(shares, await answer_all(service, messages, shares, request), strict=True):
        said = [answer.text for answer in answers if answer.text.strip()]
        texts += said
        origins += [origin_of(name, service.models[name].origin, service.defaults)] * len(said)
    return await feedback.ask(lambda store: store.add_candidates(prompt, texts, origins))


async def answer_all(
    service: Service, messages: list[dict[str, str]], shares: Mapping[str, int], request: Request
) -> list[list[Answer]]:
    """What each model answers, so many times, side by side. APIError names the prompt, with `messages` as `param`, if
    it is at fault."""
    cleaned = [{"role": message["role"], "content": clean(message["content"])} for message in messages]

    async def answer(name: str, number: int) -> list[Answer]:
        if not number:
            return []
        served = service.models[name]
        ids = await asyncio.to_thread(chat_prompt, served.tokenizer, cleaned, name)
        params = [service.defaults] * number
        job = submit(service, name, [ids], params, request)
        answers = [Answer(one, served.tokenizer, chat=True) for one in params]
        async for _ in read(service, name, job, answers):
            pass
        return answers

    try:
        return await asyncio.gather(*(answer(name, number) for name, number in shares.items()))
    except APIError as error:
        if error.status != 400:
            raise
        said = error.body["error"]
        message = f"{said['message']} It is {beginning(messages)}"
        raise APIError(400, message, code=said["code"], param=said["param"]) from None


def beginning(messages: Sequence[Mapping[str, str]]) -> str:
    """A prompt as a message about it names it."""
    text = " ".join(messages[-1]["content"].split())
    return f"“{text[:SHOWN_OF_PROMPT]}{'…' if len(text) > SHOWN_OF_PROMPT else ''}”."
