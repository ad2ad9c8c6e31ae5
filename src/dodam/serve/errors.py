"""Every error as OpenAI's error body: our own, FastAPI's checks of a request, and what nobody foresaw."""

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from dodam.serve.protocol import APIError

logger = logging.getLogger(__name__)


def add_error_bodies(app: FastAPI) -> None:
    """Answer each kind of exception by its status and OpenAI's body."""

    @app.exception_handler(APIError)
    async def ours(request: Request, error: APIError) -> JSONResponse:
        return respond(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        told = first["type"] != "json_invalid"  # there the place is a number of characters
        where = ".".join(str(part) for part in first["loc"] if part != "body") if told else ""
        message = f"`{where}`: {first['msg']}." if where else f"The body: {first['msg']}."
        return respond(APIError(400, message, param=where or None))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        allowed = (error.headers or {}).get("Allow", "")
        detail = f"{error.detail}: this path takes {allowed}." if allowed else error.detail
        return respond(APIError(error.status_code, detail, headers=dict(error.headers or {})))

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> JSONResponse:
        logger.exception("a request failed", exc_info=error)
        return respond(APIError(500, "The server has made a mistake.", code="server_error", kind="server_error"))


def respond(error: APIError) -> JSONResponse:
    return JSONResponse(error.body, error.status, error.headers)
