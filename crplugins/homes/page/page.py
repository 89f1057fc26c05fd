"""Page: what a person finds at `/`. Its files are in `static/`, and are read when somebody looks for the first time.

GET /                   the document
GET /page/{name}        its modules, style and texts

It holds no secret and decides nothing: whoever gives it a key or the admin token has it ask the gateway's own API, as
any other client. The README beside this file says what is where.
"""

import asyncio
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crplugins import __version__
from crplugins.config import Config
from crplugins.core.errors import invalid_url
from crplugins.homes.page.paths import FILES_PATH, PATH

_FOLDER: Final = Path(__file__).with_name("static")

_TYPES: Final = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "frame-ancestors 'none'; "
    "form-action 'none'; "  # a form that no script has taken sends a key nowhere
    "require-trusted-types-for 'script'; trusted-types 'none'"  # text cannot become markup, whatever the modules do
)

_HEADERS: Final = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",  # asked for anew each time: modules of two versions do not fit together
}


class PageFacts(msgspec.Struct, frozen=True):
    """What the document says of this gateway.

    Attributes:
        contact: whom to ask for a key: an address, a URL or a sentence; "" for nobody.
        root_path: the path under which a proxy shows the gateway.
        usage: whether there is a ledger to ask.
        admin: whether there is an admin API.
    """

    version: str
    contact: str = ""
    root_path: str = ""
    usage: bool = False
    admin: bool = False


def page_routes(config: Config) -> list[Route]:
    """None with `page: false`."""
    if config.page is None:
        return []
    facts = PageFacts(
        version=__version__,
        contact=config.page.contact or "",
        root_path=config.server.root_path,
        usage=config.ledger is not None,
        admin=config.admin is not None,
    )
    return Page(facts).routes()


class PageFile(msgspec.Struct, frozen=True):
    body: bytes
    media_type: str
    etag: str


class Page:
    def __init__(self, facts: PageFacts) -> None:
        self._facts = facts
        self._files: dict[str, PageFile] | None = None

    def routes(self) -> list[Route]:
        return [
            Route(PATH, self.document, methods=["GET"]),
            Route(FILES_PATH + "/{name:path}", self.file, methods=["GET"]),
        ]

    async def document(self, request: Request) -> Response:
        return _answer(request, (await self._read())["index.html"])

    async def file(self, request: Request) -> Response:
        """Raises `GatewayError` 404 for a name that is none of the page's."""
        found = (await self._read()).get(request.path_params["name"])
        if found is None:
            raise invalid_url(request.method, request.url.path)
        return _answer(request, found)

    async def _read(self) -> dict[str, PageFile]:
        if self._files is None:
            self._files = await asyncio.to_thread(page_files, self._facts)
        return self._files


def page_files(facts: PageFacts) -> dict[str, PageFile]:
    """Every file of the page by its name below `/page/`. Reads them."""
    found = {path.relative_to(_FOLDER).as_posix(): path.read_bytes() for path in _FOLDER.rglob("*.*")}
    found["index.html"] = _with_facts(found["index.html"].decode(), facts).encode()
    return {name: PageFile(body, _TYPES[Path(name).suffix], _etag(body)) for name, body in found.items()}


def _with_facts(document: str, facts: PageFacts) -> str:
    """As attributes of the root, where no script stands. Links are relative, if there is no `root_path`."""
    attributes = {
        "version": facts.version,
        "contact": facts.contact,
        "usage": "yes" if facts.usage else "no",
        "admin": "yes" if facts.admin else "no",
    }
    words = "".join(f' data-{name}="{escape(value)}"' for name, value in attributes.items())
    root = f"{facts.root_path}/" if facts.root_path else ""
    return document.replace("<html", f"<html{words}", 1).replace("{root}", root)


def _etag(body: bytes) -> str:
    return f'"{sha256(body).hexdigest()[:32]}"'


def _answer(request: Request, file: PageFile) -> Response:
    headers = {**_HEADERS, "etag": file.etag}
    if file.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(file.body, headers=headers, media_type=file.media_type)
