"""The command `serve`: models in, an OpenAI-compatible API and a chat page on a port out, until it is stopped.

One process; each model has an engine in a thread of its own. By default only this machine can reach it.
"""

import os
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Le, MinLen

from dodam.errors import UsageError

if TYPE_CHECKING:
    from fastapi import FastAPI

    from dodam.serve.routes import Service


@dataclass(frozen=True, kw_only=True)
class Serve:
    """Serve models over HTTP: OpenAI's /v1/chat/completions, /v1/completions and /v1/models, and a chat page at /."""

    positional: ClassVar[tuple[str, ...]] = ("models",)

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


def run(config: Serve) -> dict:
    """Serve until SIGINT or SIGTERM; return `{"models", "url"}`."""
    keys = all_keys(config.api_key, os.environ.get("DODAM_API_KEY", ""))
    if not keys and not is_loopback(config.host):
        mend = "Choose a key with --api-key or DODAM_API_KEY, or leave --host out."
        raise UsageError("others could use the models without a key", where=f"--host {config.host}", mend=mend)
    with listen(config.host, config.port) as listening:
        service = load(config, keys)
        host = f"[{config.host}]" if ":" in config.host else config.host
        url = f"http://{host}:{listening.getsockname()[1]}"
        for name, served in service.models.items():
            kind = "base" if served.tokenizer.chat_template is None else "chat"
            print(f"{name} ({kind}, context {served.worker.engine.context})", file=sys.stderr)
        print(f"Chat page {url}/   API {url}/v1   Ctrl-C stops", file=sys.stderr, flush=True)
        serve(make_app(service, config.host), service, listening)
    return {"models": list(service.models), "url": url}


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
    """Load every model and put an engine behind it."""
    from dodam.generate.engine import Engine
    from dodam.generate.generate import open_model
    from dodam.generate.sequence import SamplingParams
    from dodam.serve.auth import Keys
    from dodam.serve.limits import Limits, Rate
    from dodam.serve.metrics import Metrics
    from dodam.serve.routes import Served, Service
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
        models[name] = Served(loaded.tokenizer, Worker(engine, max_waiting=config.max_waiting))
    return Service(
        models=models,
        limits=Limits(config.max_tokens, config.max_seconds, config.max_body, config.rate),
        defaults=SamplingParams(max_tokens=config.max_tokens, temperature=config.temperature, top_p=config.top_p),
        keys=Keys(keys),
        rate=Rate(config.rate),
        metrics=Metrics({name: served.worker for name, served in models.items()}),
    )


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
    from dodam.serve.page import add_page
    from dodam.serve.routes import make_router

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
    add_page(app)
    add_error_bodies(app)
    if is_loopback(host):
        # A web page elsewhere could point its own name at this machine; such requests carry that name.
        app.add_middleware(KnownHosts, hosts=["localhost", "127.0.0.1", "[::1]", f"[{host}]" if ":" in host else host])
    app.add_middleware(BodyLimit, max_body=service.limits.max_body)
    app.add_middleware(CountRequests, metrics=service.metrics)
    return app


def serve(app: "FastAPI", service: "Service", listening: socket.socket) -> None:
    """Run uvicorn until a signal; open answers are told, and the second signal waits for nothing."""
    import uvicorn

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: Any) -> None:
            self.force_exit = self.should_exit
            self.should_exit = True
            for served in service.models.values():
                served.worker.stop()

    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=3)
    Server(config).run(sockets=[listening])
