"""The Studio: static files built from ui/, and a policy that lets a page run only these and reach only this server.

Every page is the same document; its script looks at the address. Nothing is read from the disk after the start.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path

from fastapi import FastAPI, Request, Response

STATIC = Path(__file__).parent / "static"
PAGES = ("/", "/rank", "/write")
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "require-trusted-types-for 'script'; trusted-types svelte-trusted-html; "  # no text becomes HTML but Svelte's own
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # names stay when a newer Dodam brings other files
}


def add_pages(app: FastAPI) -> None:
    """Serve the document at each page's path, and every file of the Studio under its name."""
    files = {file.relative_to(STATIC).as_posix(): file for file in STATIC.rglob("*") if file.is_file()}
    for path in PAGES:
        app.add_route(path, responder(files["index.html"]), include_in_schema=False)
    for name, file in files.items():
        app.add_route(f"/{name}", responder(file), include_in_schema=False)


def responder(file: Path) -> Callable[[Request], Awaitable[Response]]:
    """A route that answers with a file as it is now."""
    content, kind = file.read_bytes(), TYPES[file.suffix]

    async def respond(request: Request) -> Response:
        return Response(content, media_type=kind, headers=HEADERS)

    return respond
