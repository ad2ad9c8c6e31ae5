"""The answers that are ranked together: those that came with the prompt, or the served models', sampled when missing.

In: a prompt of the store. Out: texts in an order that is shuffled, the same whenever this annotator is asked again,
each once, with all the candidates that say it.
Every sampled answer is in the store with its origin before anybody sees it.
"""

import asyncio
import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import Request

from dodam.data.text import clean
from dodam.feedback.judgements import LARGEST
from dodam.files import xxh3
from dodam.generate.engine import Answer
from dodam.serve.feedback import Feedback, origin_of
from dodam.serve.protocol import APIError
from dodam.serve.routes import Service, chat_prompt, read, submit

if TYPE_CHECKING:
    from dodam.feedback.prompts import Answer as Candidate
    from dodam.feedback.prompts import Asked

ROUNDS = 3  # of sampling, until enough answers differ
AND = "+"  # between the candidates that one text on the page stands for
SHOWN_OF_PROMPT = 60  # characters of a prompt in a message about it


def weights_of(folder: Path) -> str:
    """What tells one checkpoint from another of the same name: a checksum of its weights."""
    sums = [xxh3(file) for file in sorted(folder.glob("*.safetensors"))]
    return hashlib.sha256(" ".join(sums).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Shown:
    """A text as it is ranked: it is shown once, and stands for all candidates that say it. What two models answer alike
    has one place, and counts for both."""

    text: str
    candidates: tuple[str, ...]

    @property
    def id(self) -> str:
        """What the page calls it; `candidates_of` reads it."""
        return AND.join(self.candidates)


def candidates_of(shown: str) -> list[str]:
    """The ids of the candidates that a text on the page stands for."""
    return shown.split(AND)


async def to_rank(
    service: Service, feedback: Feedback, asked: "Asked", annotator: str, request: Request
) -> list[Shown]:
    """Answers to the prompt, shuffled. APIError `few_answers` if fewer than two differ or only one of several models
    answers, `context_length_exceeded` if the prompt does not fit the model."""
    chance = random.Random(f"{asked.id} {annotator}")
    found = distinct([answer for answer in asked.answers if "weights" not in answer.origin][:LARGEST])
    if len(found) < 2:
        found = distinct(await of_each(service, feedback, asked, request))
    if len(found) < 2:
        message = f"There are no two different answers to {beginning(asked.messages)}"
        raise APIError(400, message, code="few_answers", param="messages")
    return chance.sample(found, min(len(found), feedback.answers))


async def of_each(service: Service, feedback: Feedback, asked: "Asked", request: Request) -> "list[Candidate]":
    """As many different answers of each model as of any other, sampled where they are missing: what one model says as
    well as another is not the one's alone, and no model is asked more because another repeats itself."""
    names = chat_models(service)
    share = -(-feedback.answers // len(names))
    found = ours(service, asked.answers, share)
    for _ in range(ROUNDS):
        missing = {name: share - len(found[name]) for name in names}
        if not any(missing.values()):
            break
        await sample(service, feedback, asked.id, asked.messages, missing, request)
        found = ours(service, (await feedback.ask(lambda store: store.prompt(asked.id))).answers, share)
    if sum(map(bool, found.values())) < min(2, len(names)):
        message = f"No two models answer {beginning(asked.messages)}"
        raise APIError(400, message, code="few_answers", param="messages")
    return [answer for answers in found.values() for answer in answers]


def chat_models(service: Service) -> list[str]:
    """The names of the models that can answer."""
    return [name for name, served in service.models.items() if served.tokenizer.chat_template is not None]


def served_weights(service: Service) -> list[str]:
    """What tells each model that can answer from other checkpoints."""
    return [str(service.models[name].origin.get("weights")) for name in chat_models(service)]


def ours(service: Service, answers: "Sequence[Candidate]", share: int) -> "dict[str, list[Candidate]]":
    """Of each model, as it is served now, the first `share` different answers."""
    found = {}
    for name in chat_models(service):
        weights = service.models[name].origin.get("weights")
        mine: dict[str, Candidate] = {}
        for answer in answers:
            if (answer.origin.get("model"), answer.origin.get("weights")) == (name, weights):
                mine.setdefault(answer.text, answer)
        found[name] = list(mine.values())[:share]
    return found


def distinct(answers: "Sequence[Candidate]") -> list[Shown]:
    """Every text once, with all the candidates that say it."""
    found: dict[str, list[str]] = {}
    for answer in answers:
        found.setdefault(answer.text, []).append(answer.id)
    return [Shown(text, tuple(candidates)) for text, candidates in found.items()]


async def sample(
    service: Service,
    feedback: Feedback,
    prompt: str,
    messages: list[dict[str, str]],
    shares: Mapping[str, int],
    request: Request,
) -> list[str]:
    """Let each served model answer so many times, and store what they say; the ids of the answers that are not
    empty."""
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
