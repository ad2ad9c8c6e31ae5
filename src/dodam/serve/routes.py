"""The routes: a checked request becomes prompts for a worker, its events become an answer, streamed or at once.

Streaming is the only path; the answer at once collects the same pieces. A client that leaves cancels its job.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.security import HTTPBearer

from dodam.data.conversation import encode
from dodam.errors import DodamError
from dodam.generate.engine import Answer
from dodam.generate.sequence import SamplingParams
from dodam.serve.auth import Keys
from dodam.serve.feedback import Feedback, conversation_key, origin_of
from dodam.serve.limits import Limits, Rate, too_many
from dodam.serve.metrics import Metrics
from dodam.serve.protocol import APIError, ChatCompletion, TextCompletion, sampling_params
from dodam.serve.reply import Piece, Reply, usage
from dodam.serve.worker import Full, Job, Stopped, Worker
from dodam.tokenizer.tokenizer import Tokenizer

CLIENT_LEFT = 499  # nginx's name for it; nobody reads it but the metrics


class Left(Exception):
    """The client has closed the connection."""


class TimedOut(Exception):
    """The request has had all the time there is."""


@dataclass(frozen=True)
class Served:
    """One model: its tokenizer, the worker that runs it, and what tells its answers from another's."""

    tokenizer: Tokenizer
    worker: Worker
    origin: dict[str, Any] = field(default_factory=dict)
    created: int = field(default_factory=lambda: int(time.time()))


@dataclass(frozen=True)
class Service:
    """All that the routes need."""

    models: dict[str, Served]
    limits: Limits
    defaults: SamplingParams
    keys: Keys
    rate: Rate
    metrics: Metrics
    feedback: Feedback | None = None
    watches: set[asyncio.Task] = field(default_factory=set)

    def close(self) -> None:
        """Close what outlives a request."""
        if self.feedback is not None:
            self.feedback.store.close()

    def find(self, name: str) -> Served:
        if name not in self.models:
            message = f"There is no model {name!r} here. There is: {', '.join(self.models)}."
            raise APIError(404, message, code="model_not_found", param="model")
        return self.models[name]

    def watch(self, request: Request, worker: Worker, job: Job) -> None:
        """Start the task that owns the job and ends it when the client has its answer, leaves, or the time is over."""
        task = asyncio.create_task(watch(request, worker, job, self.limits.max_seconds))
        self.watches.add(task)
        task.add_done_callback(self.watches.discard)


def admission(service: Service) -> Callable[[Request], None]:
    """A dependency that lets in who has a key, where keys are asked for, and has not asked too often."""

    def admit(request: Request) -> None:
        address = request.client.host if request.client else "unknown"
        try:
            client = service.keys.check(request.headers.get("authorization"))
        except APIError:
            service.rate.check(f"wrong key {address}")
            raise
        service.rate.check(client or address)

    return admit


def make_router(service: Service) -> APIRouter:
    """The API as routes of FastAPI."""
    router = APIRouter()
    guarded = APIRouter(dependencies=[Depends(HTTPBearer(auto_error=False)), Depends(admission(service))])

    @guarded.get("/v1/models")
    async def models() -> dict:
        return {"object": "list", "data": [describe(name, served) for name, served in service.models.items()]}

    @guarded.get("/v1/models/{name:path}")
    async def model(name: str) -> dict:
        return describe(name, service.find(name))

    @guarded.post("/v1/chat/completions")
    async def chat_completions(body: ChatCompletion, request: Request) -> Response:
        served = service.find(body.model)
        ids = await asyncio.to_thread(chat_ids, served.tokenizer, body, body.model)
        return await complete(service, body, [ids], request)

    @guarded.post("/v1/completions")
    async def completions(body: TextCompletion, request: Request) -> Response:
        served = service.find(body.model)
        prompts = await asyncio.to_thread(text_ids, served.tokenizer, body)
        return await complete(service, body, prompts, request)

    @guarded.get("/metrics")
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @router.get("/health")
    async def health() -> JSONResponse:
        alive = all(served.worker.alive for served in service.models.values())
        return JSONResponse({"status": "ok" if alive else "failed"}, 200 if alive else 503)

    router.include_router(guarded)
    return router


def describe(name: str, served: Served) -> dict:
    """A model as /v1/models lists it. `chat` says whether it can be asked through /v1/chat/completions."""
    about = {"context": served.worker.engine.context, "chat": served.tokenizer.chat_template is not None}
    return {"id": name, "object": "model", "created": served.created, "owned_by": "dodam", **about}


def chat_ids(tokenizer: Tokenizer, body: ChatCompletion, name: str) -> list[int]:
    """The conversation of a request, as the model was tuned on it."""
    return chat_prompt(tokenizer, [message.plain() for message in body.messages], name)


def chat_prompt(tokenizer: Tokenizer, messages: list[dict[str, str]], name: str) -> list[int]:
    """A conversation through the chat template. APIError where there is none, or where it cannot be."""
    if tokenizer.chat_template is None:
        message = f"{name} is a base model without a chat template: ask /v1/completions, or tune it with `dodam sft`."
        raise APIError(400, message, code="model_not_tuned", param="model")
    try:
        return encode(tokenizer, messages, generation_prompt=True).ids
    except DodamError as error:
        raise APIError(400, str(error), param="messages") from None


def text_ids(tokenizer: Tokenizer, body: TextCompletion) -> list[list[int]]:
    """Texts as the beginning of a document; ids as they are."""
    prompts = []
    for prompt in body.prompts:
        if isinstance(prompt, str):
            prompts.append([tokenizer.bos, *tokenizer.encode(prompt)])
        elif any(id >= tokenizer.size for id in prompt):
            raise APIError(400, f"A token id must be below {tokenizer.size}.", param="prompt")
        else:
            prompts.append(prompt)
    return prompts


async def complete(
    service: Service, body: ChatCompletion | TextCompletion, prompts: list[list[int]], request: Request
) -> Response:
    """Answer `n` times each prompt. APIError when it is too long, too many, or too much waits already."""
    served, feedback = service.find(body.model), service.feedback
    key = ""
    if feedback is not None and feedback.collect:
        key = conversation_key(request.headers)
    params = [sampling_params(body, service.defaults, choice) for choice in range(body.n or 1)]
    job = submit(service, body.model, prompts, params, request)
    answers = [Answer(p, served.tokenizer, chat=isinstance(body, ChatCompletion)) for _, p in job.prompts]
    service.metrics.tokens.labels(body.model, "prompt").inc(num_prompt := sum(map(len, prompts)))
    pieces = read(service, body.model, job, answers)
    headers = {}
    if feedback is not None and key and isinstance(body, ChatCompletion):
        origins = [origin_of(body.model, served.origin, p) for p in params]
        pieces = feedback.collected(pieces, key, [message.plain() for message in body.messages], origins)
        headers["Dodam-Deletion-Key"] = key
    reply = Reply(body.model, isinstance(body, ChatCompletion), served.tokenizer)

    def used() -> dict[str, int]:
        return usage(num_prompt, sum(len(answer.ids) for answer in answers))

    if body.stream:
        with_usage = body.stream_options is not None and body.stream_options.include_usage
        lines = stream(reply, pieces, len(answers), used if with_usage else None)
        headers |= {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        return StreamingResponse(lines, media_type="text/event-stream", headers=headers)
    try:
        collected = [piece async for piece in pieces]
    except Left:
        return Response(status_code=CLIENT_LEFT)
    except Stopped as error:
        raise failure(error) from None
    return JSONResponse(reply.whole(collected, used()), headers=headers)


def submit(
    service: Service, name: str, prompts: list[list[int]], params: list[SamplingParams], request: Request
) -> Job:
    """Queue every prompt with each of the parameters. APIError when it is too long, too many, or too much waits."""
    worker = service.models[name].worker
    check_sizes(prompts, len(params), worker)
    try:
        job = worker.submit([(ids, p) for ids in prompts for p in params])
    except Full:
        raise too_many("Too many requests are waiting.", "server_busy", retry_after=1) from None
    except Stopped as error:
        raise failure(error) from None
    service.watch(request, worker, job)
    return job


def check_sizes(prompts: list[list[int]], num_choices: int, worker: Worker) -> None:
    """APIError 400 for a request that could not be answered however long it waited."""
    context = worker.engine.context
    longest = max(map(len, prompts), default=0)
    if longest >= context:
        message = f"The prompt has {longest} tokens; with an answer it must fit into the context of {context}."
        raise APIError(400, message, code="context_length_exceeded", param="messages")
    if not prompts or not all(prompts):
        raise APIError(400, "A prompt must not be empty.", param="prompt")
    if len(prompts) * num_choices > worker.most_open:
        raise APIError(400, f"At most {worker.most_open} answers can be asked for in one request.", param="n")


async def watch(request: Request, worker: Worker, job: Job, max_seconds: float) -> None:
    """Wait for the end of the connection or of the time, tell the reader, and free what the job still holds."""
    try:
        async with asyncio.timeout(max_seconds):
            while (await request.receive())["type"] != "http.disconnect":
                pass
        job.events.put_nowait((-1, Left()))
    except TimeoutError:
        job.events.put_nowait((-1, TimedOut()))
    finally:
        worker.close(job)


async def read(service: Service, name: str, job: Job, answers: list[Answer]) -> AsyncIterator[Piece]:
    """The pieces of all answers as they come. Left and Stopped end it; when the time is over all end by "length"."""
    worker, metrics, started = service.models[name].worker, service.metrics, time.monotonic()
    unfinished = set(range(len(answers)))
    while unfinished:
        index, event = await job.events.get()
        if isinstance(event, TimedOut):
            for index in sorted(unfinished):
                yield Piece(index, "", [], "length")
            return
        if isinstance(event, Exception):
            raise event
        answer = answers[index]
        if index not in unfinished:  # a stop text has ended it while its next token was under way
            continue
        if not any(a.ids for a in answers):
            metrics.first_token.labels(name).observe(time.monotonic() - started)
        text = answer.take(event)
        tokens = [] if event.id is None or event.logprob is None else [(event.id, event.logprob)]
        if event.id is not None:
            metrics.tokens.labels(name, "completion").inc()
        if answer.reason is not None:
            unfinished.discard(index)
            worker.cancel(job, [index])
        if text or tokens or answer.reason is not None:
            yield Piece(index, text, tokens, answer.reason)
    metrics.answer.labels(name).observe(time.monotonic() - started)


async def stream(reply: Reply, pieces: AsyncIterator[Piece], num_choices: int, used) -> AsyncIterator[str]:
    """The answer as server-sent events, closed by the usage when it was asked for and by [DONE]."""
    for chunk in reply.openings(num_choices):
        yield sent(chunk)
    try:
        async for piece in pieces:
            yield sent(reply.chunk(piece))
    except Left:
        return
    except Stopped as error:
        yield sent(failure(error).body)
        return
    if used is not None:
        yield sent(reply.usage_chunk(used()))
    yield "data: [DONE]\n\n"


def sent(value: dict) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"


def failure(error: Stopped) -> APIError:
    return APIError(503, f"No answer: {error}.", code="server_error", kind="server_error")
