"""What one client may ask of the server: how often, how much, how long. What goes beyond is refused before any work."""

import math
import time
from dataclasses import dataclass

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dodam.serve.protocol import APIError


@dataclass(frozen=True)
class Limits:
    """The largest request the server takes."""

    max_tokens: int
    """Tokens in one answer."""
    max_seconds: float
    """Seconds for one request, waiting included; what is there by then is the answer."""
    max_body: int
    """Bytes of a request's body."""
    rate: int
    """Requests of one client in a minute; 0 is no limit."""


class Rate:
    """Counts each client's requests in a moving window of a minute."""

    def __init__(self, per_minute: int) -> None:
        self.item = RateLimitItemPerMinute(per_minute) if per_minute else None
        self.limiter = MovingWindowRateLimiter(MemoryStorage())

    def check(self, client: str) -> None:
        """APIError 429 when the client has asked too often."""
        if self.item is not None and not self.limiter.hit(self.item, client):
            wait = self.limiter.get_window_stats(self.item, client).reset_time - time.time()
            message = f"More than {self.item.amount} requests in a minute."
            raise too_many(message, "rate_limit_exceeded", retry_after=wait)


def too_many(message: str, code: str, *, retry_after: float) -> APIError:
    headers = {"Retry-After": str(max(1, math.ceil(retry_after)))}
    return APIError(429, message, code=code, kind="rate_limit_error", headers=headers)


class BodyLimit:
    """Middleware that stops reading a body as soon as it is too large, whatever its header says."""

    def __init__(self, app: ASGIApp, max_body: int) -> None:
        self.app, self.max_body = app, max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        num_bytes = 0

        async def limited() -> Message:
            nonlocal num_bytes
            message = await receive()
            num_bytes += len(message.get("body", b""))
            if num_bytes > self.max_body:
                raise HTTPException(413, f"The body has more than {self.max_body} bytes.")
            return message

        await self.app(scope, limited if scope["type"] == "http" else receive, send)
