"""Who may ask: API keys, kept as hashes only and compared in constant time, and the names this machine answers to.

An `Authorization: Bearer KEY` header comes in; out goes the name under which the client's requests are counted.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from dodam.serve.errors import respond
from dodam.serve.protocol import APIError

HOST = re.compile(r"(\[[^\]]*\]|[^:]*)(:\d*)?")  # a name or address, and perhaps a port


class Keys:
    """The keys that open the API; without any it is open to everyone who can reach it."""

    def __init__(self, keys: Iterable[str]) -> None:
        self.hashes = [digest(key) for key in keys]

    def check(self, header: str | None) -> str | None:
        """The client's name by its key, None when no keys are asked for. APIError 401 for a missing or wrong key."""
        if not self.hashes:
            return None
        key = bearer(header)
        given = digest(key)
        # Every hash is looked at, so that the time says nothing about which one fits.
        fits = [hmac.compare_digest(given, known) for known in self.hashes]
        if not key or not any(fits):
            raise APIError(
                401,
                "This server needs its API key: send it as `Authorization: Bearer KEY`.",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )
        return f"key {given.hex()[:16]}"


class KnownHosts:
    """Middleware that refuses requests whose Host header, its port aside, is none of `hosts`."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        self.app, self.hosts = app, {host.lower() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            found = HOST.fullmatch(Headers(scope=scope).get("host", ""))
            if found is None or found[1].lower() not in self.hosts:
                message = f"Invalid host header: this server answers to {', '.join(sorted(self.hosts))}."
                return await respond(APIError(400, message, code="invalid_host"))(scope, receive, send)
        await self.app(scope, receive, send)


def bearer(header: str | None) -> str:
    """The key of an `Authorization: Bearer KEY` header; empty where there is none."""
    scheme, _, key = (header or "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
