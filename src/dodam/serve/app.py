"""The command `serve`: models in, an OpenAI-compatible API and a chat page on a port out, until it is stopped.

One process; each model has an engine in a thread of its own. By default only this machine can reach it.
"""

import os
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Le, MinLen

from dodam.errors import UsageError

if TYPE_CHECKING:
    from fastapi import FastAPI

    from dodam.serve.feedback import Feedback
    from dodam.serve.routes import Served, Service


@dataclass(frozen=True, kw_only=True)
class Serve:
    """Serve models over HTTP: OpenAI's /v1/chat/completions, /v1/completions and /v1/models, and a chat page at /."""

    positional: ClassVar[tuple[str, ...]] = ("models",)
    alone: ClassVar[dict[str, str]] = {"feedback": "feedback.sqlite"}

    models: Annotated[tuple[str, ...], MinLen(1)]
    """Model folders or run folders; NAME=FOLDER gives a model a name of its own."""
    host: str = "127.0.0.1"
    """The address to listen on; others than this machine's own need --api-key."""
    port: Annotated[int, Ge(0), Le(65535)] = 8000
    """The port to listen on; 0 takes a free one."""
    api_key: tuple[str, ...] = ()
    """A key that clients must send; may be given several times. Also read from DODAM_API_KEY."""
    max_tokens: Annotated[int, Gt(0)] = 1024
    """Most tokens in an answer."""
    temperature: Annotated[float, Ge(0), Le(2)] = 0.7
    """For requests that do not say it themselves."""
    top_p: Annotated[float, Gt(0), Le(1)] = 0.9
    """For requests that do not say it themselves."""
    max_running: Annotated[int, Gt(0)] = 16
    """Most answers generated side by side, per model."""
    max_waiting: Annotated[int, Ge(0)] = 64
    """Most answers that may wait for their turn, per model; beyond that a client is told to try again."""
    max_seconds: Annotated[float, Gt(0)] = 300
    """Most seconds for one request."""
    max_body: Annotated[int, Gt(0)] = 1_000_000
    """Most bytes in a request."""
    rate: Annotated[int, Ge(0)] = 1200
    """Most requests of one client in a minute; 0 is no limit."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to run; auto takes a GPU if there is one."""
    feedback: str | None = None
    """Let people rank answers (/rank) and write them (/write), and keep what they say in this store: an SQLite file or
    the URL of a database; feedback.sqlite when none is named."""
    prompts: tuple[str, ...] = ()
    """Files of prompts to rank answers to: lines of .txt, rows with `prompt` and perhaps `answers`, conversations."""
    answers: Annotated[int, Ge(2), Le(9)] = 4
    """How many answers are ranked together."""
    guideline: str = ""
    """What annotators are told: a text, or a file that holds it."""
    choose: Literal["random", "uncertain"] = "random"
    """Which prompt to ask next, among those with the fewest rankings: any, or what the reward model knows least."""
    annotator: tuple[str, ...] = ()
    """Who may rank and write, as NAME=KEY; may be given several times. Without it whoever says a name."""
    collect: bool = False
    """Store chats too, with personal data masked; the chat page says so."""
    rank_chats: bool = False
    """Let annotators read and rank what is stored of chats; the chat page says so."""


def run(config: Serve) -> dict:
    """Serve until SIGINT or SIGTERM; return `{"models", "url"}`."""
    keys = all_keys(config.api_key, os.environ.get("DODAM_API_KEY", ""))
    if not keys and not is_loopback(config.host):
        mend = "Choose a key with --api-key or DODAM_API_KEY, or leave --host out."
        raise UsageError("others could use the models without a key", where=f"--host {config.host}", mend=mend)
    check_feedback(config)
    with listen(config.host, config.port) as listening, closing(load(config, keys)) as service:
        host = f"[{config.host}]" if ":" in config.host else config.host
        url = f"http://{host}:{listening.getsockname()[1]}"
        for name, served in service.models.items():
            kind = "base" if served.tokenizer.chat_template is None else "chat"
            print(f"{name} ({kind}, context {served.worker.engine.context})", file=sys.stderr)
        print(f"Chat page {url}/   API {url}/v1   Ctrl-C stops", file=sys.stderr, flush=True)
        if service.feedback is not None:
            print(f"Rank {url}/rank   Write {url}/write   {stored(service.feedback)}", file=sys.stderr, flush=True)
        serve(make_app(service, config.host), service, listening)
    return {"models": list(service.models), "url": url}


def check_feedback(config: Serve) -> None:
    """UsageError for a flag that would have no effect without a store."""
    given = {
        "--prompts": config.prompts,
        "--answers": config.answers != Serve.answers,
        "--guideline": config.guideline,
        "--choose": config.choose != Serve.choose,
        "--annotator": config.annotator,
        "--collect": config.collect,
        "--rank-chats": config.rank_chats,
    }
    if config.feedback is None and (useless := [flag for flag, value in given.items() if value]):
        raise UsageError("has no effect without --feedback", where=useless[0], mend="Add --feedback [PATH|URL].")


def stored(feedback: "Feedback") -> str:
    """What the store has, and what that means for whoever ranks."""
    from dodam.serve.feedback import num_uncertain

    num_prompts = feedback.store.counts()["prompts"]
    told = f"Store {feedback.store.where}, prompts: {num_prompts}{'; chats are collected' if feedback.collect else ''}"
    if not num_prompts:
        return f"{told}; nothing to rank yet: --prompts FILE, or --rank-chats and regenerate answers in the chat"
    if feedback.choose == "uncertain" and not num_uncertain(feedback.store):
        return f"{told}; none with an uncertainty yet, so they are asked at random"
    return told


def all_keys(flags: tuple[str, ...], variable: str) -> tuple[str, ...]:
    """The keys of the flag and of the environment. UsageError for a blank flag: it would leave the server open."""
    if not all(key.strip() for key in flags):
        raise UsageError("a key must not be empty", where="--api-key", mend="Is the shell variable set?")
    return tuple(key.strip() for key in (*flags, variable) if key.strip())


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """A bound socket. UsageError when the port is taken or the address is not ours."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        # create_server lets a port be taken again at once after a stop, but not while another server has it.
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        mend = "Choose another --port; --port 0 takes a free one."
        raise UsageError(f"cannot listen: {error.strerror}", where=f"{host}:{port}", mend=mend) from None


def load(config: Serve, keys: tuple[str, ...]) -> "Service":
    """Load every model, and open the store last: a start that fails leaves none behind."""
    from dodam.generate.sequence import SamplingParams
    from dodam.serve.auth import Keys
    from dodam.serve.feedback import open_feedback, read_material
    from dodam.serve.limits import Limits, Rate
    from dodam.serve.metrics import Metrics
    from dodam.serve.routes import Service

    material = read_material(config.prompts, config.guideline, config.annotator)
    models = load_models(config)
    feedback = None
    if config.feedback is not None:
        if all(served.tokenizer.chat_template is None for served in models.values()):
            mend = "Tune one with `dodam sft`, or leave --feedback out."
            raise UsageError("base models answer no prompts", where="--feedback", mend=mend)
        choices: dict[str, Any] = {
            "answers": config.answers,
            "choose": config.choose,
            "collect": config.collect,
            "rank_chats": config.rank_chats,
        }
        feedback = open_feedback(config.feedback, material, **choices)
    return Service(
        models=models,
        limits=Limits(config.max_tokens, config.max_seconds, config.max_body, config.rate),
        defaults=SamplingParams(max_tokens=config.max_tokens, temperature=config.temperature, top_p=config.top_p),
        keys=Keys(keys),
        rate=Rate(config.rate),
        metrics=Metrics({name: served.worker for name, served in models.items()}),
        feedback=feedback,
    )


def load_models(config: Serve) -> "dict[str, Served]":
    """Every model by its name, with an engine behind it."""
    from dodam.generate.engine import Engine
    from dodam.generate.generate import open_model
    from dodam.serve.candidates import weights_of
    from dodam.serve.routes import Served
    from dodam.serve.worker import Worker

    paths: dict[str, Path] = {}
    for name, path in map(named, config.models):
        if name in paths:
            raise UsageError(f"two models are called {name!r}", mend="Name them apart: NAME=FOLDER.")
        paths[name] = path
    models = {}
    for name, path in paths.items():
        loaded = open_model(path, config.device)
        engine = Engine(
            loaded.model, stop_ids=loaded.stop_ids, pad_id=loaded.tokenizer.pad, max_rows=config.max_running
        )
        worker = Worker(engine, max_waiting=config.max_waiting)
        origin = {} if config.feedback is None else {"weights": weights_of(loaded.path)}
        models[name] = Served(loaded.tokenizer, worker, origin)
    return models


def named(argument: str) -> tuple[str, Path]:
    """`NAME=FOLDER`, or a folder that gives the name: its own, or its parent's for a run folder's `model`."""
    if "=" in argument and not Path(argument).exists():
        name, _, path = argument.partition("=")
        return name, Path(path)
    path = Path(os.path.abspath(argument))  # a recipe's `model` is a link; what counts is the name it was called by
    return path.parent.name if path.name == "model" else path.name, Path(argument)


def make_app(service: "Service", host: str) -> "FastAPI":
    """The application: routes, error bodies, limits, the page."""
    from fastapi import FastAPI

    from dodam import __version__
    from dodam.serve.auth import KnownHosts
    from dodam.serve.errors import add_error_bodies
    from dodam.serve.limits import BodyLimit
    from dodam.serve.metrics import CountRequests
    from dodam.serve.page import add_pages
    from dodam.serve.rank import make_rank_router
    from dodam.serve.routes import make_router
    from dodam.serve.thumbs import make_thumbs_router

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        for served in service.models.values():
            served.worker.start()
        yield
        for served in service.models.values():
            served.worker.stop()
            served.worker.thread.join()

    app = FastAPI(title="Dodam", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.include_router(make_router(service))
    app.include_router(make_thumbs_router(service))
    if service.feedback is not None:
        app.include_router(make_rank_router(service, service.feedback))
    add_pages(app)
    add_error_bodies(app)
    if is_loopback(host):
        # A web page elsewhere could point its own name at this machine; such requests carry that name.
        app.add_middleware(KnownHosts, hosts=["localhost", "127.0.0.1", "[::1]", f"[{host}]" if ":" in host else host])
    app.add_middleware(BodyLimit, max_body=service.limits.max_body)
    app.add_middleware(CountRequests, metrics=service.metrics)
    return app


def serve(app: "FastAPI", service: "Service", listening: socket.socket) -> None:
    """Run uvicorn until a signal; open answers are told, and the second signal waits for nothing."""
    import logging

    import uvicorn

    # asyncio warns of a client that left while it was written to, which clients may do.
    logging.getLogger("asyncio").setLevel(logging.ERROR)

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: Any) -> None:
            self.force_exit = self.should_exit
            self.should_exit = True
            for served in service.models.values():
                served.worker.stop()

    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=3)
    Server(config).run(sockets=[listening])
