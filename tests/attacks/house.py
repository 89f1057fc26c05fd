"""House: a gateway with both handlers, an app of one's own and a server like vLLM, attacked over real sockets.

Clients write bytes, for a library would tidy them up; the provider answers with bytes for the same reason.
"""

import asyncio
import io
import itertools
import json
import os
import re
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self
from unittest import mock

import yaml
from starlette.middleware import Middleware

from crplugins import AuthMiddleware, Gateway, ModelAliasMiddleware, PluginMiddleware, UsageMiddleware
from crplugins.cli.bounds import Bounds
from crplugins.cli.connections import BoundedHTTP, OpenConnections
from crplugins.cli.logs import log_to
from crplugins.plugins.guard.plugin import RequestGuard
from tests.conftest import serving
from tests.homes.host_apps import APPS, CHAT
from tests.homes.host_model import HostModel
from tests.homes.matrix.stage import Stage

KEY, NARROW, UPSTREAM_KEY = "sk-client-0123456789abcdef", "sk-narrow-0123456789abcdef", "sk-upstream-fedcba9876543210"
METRICS_TOKEN = "metrics-token-0123456789"
PROMPT = "a prompt word nobody tells"
BOUNDS = Bounds(head_bytes=65536, head_seconds=60, body_seconds=60, connections=1000)
PATIENCE = 30.0


def json_bytes(value: Any) -> bytes:
    return json.dumps(value).encode()


def question(model: str = "m", **more: Any) -> bytes:
    return json_bytes({"model": model, "messages": [{"role": "user", "content": PROMPT}], **more})


def completion(**more: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "served"}
    return {**head, "choices": [choice], "usage": usage, **more}


def chunk(delta: Mapping[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "served"}
    return {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


def events(*data: Any) -> bytes:
    return b"".join(
        b"data: " + (each if isinstance(each, bytes) else json_bytes(each)) + b"\n\n" for each in (*data, b"[DONE]")
    )


def response(body: Any, status: str = "200 OK", kind: str = "application/json", head: bytes = b"") -> bytes:
    """The bytes of an answer; `head` are further lines."""
    body = body if isinstance(body, bytes) else json_bytes(body)
    start = (
        f"HTTP/1.1 {status}\r\nconnection: close\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n".encode()
    )
    return start + head + b"\r\n" + body


def streamed(body: bytes) -> bytes:
    return response(body, kind="text/event-stream")


def refusal(message: Any, status: str = "400 Bad Request", head: bytes = b"", **more: Any) -> bytes:
    return response({"error": {"message": message, "type": "invalid_request_error", **more}}, status, head=head)


@dataclass
class Asked:
    """One request as the provider received it."""

    head: bytes
    body: bytes

    @property
    def model(self) -> Any:
        return json.loads(self.body).get("model")


@dataclass
class RawProvider:
    """Answers every request with the bytes of `answer`, or with what it says of the request, or with a good answer."""

    answer: bytes | Callable[[Asked], bytes | None] | None = None
    asked: list[Asked] = field(default_factory=list)
    port: int = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**24)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
            )
            request = Asked(head, await reader.readexactly(length))
            self.asked.append(request)
            said = self.answer(request) if callable(self.answer) else self.answer
            writer.write(_good(request) if said is None else said)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def _good(request: Asked) -> bytes:
    body = json.loads(request.body)
    if not body.get("stream"):
        return response(completion())
    last = [chunk({}, choices=[], usage=completion()["usage"])] if body.get("stream_options") else []
    return streamed(events(chunk({"role": "assistant", "content": "hello"}), chunk({}, "stop"), *last))


@dataclass
class Answer:
    """All that came back: `statuses` of all answers on the connection, the last one's head and body."""

    raw: bytes

    @property
    def statuses(self) -> list[int]:
        return [int(line[9:12]) for line in self.raw.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]

    @property
    def status(self) -> int:
        return self.statuses[-1] if self.statuses else 0

    @property
    def head(self) -> bytes:
        return self._last.partition(b"\r\n\r\n")[0]

    @property
    def body(self) -> bytes:
        return self._last.partition(b"\r\n\r\n")[2]

    @property
    def _last(self) -> bytes:
        return re.split(rb"(?:\A|\r\n)HTTP/1\.1 (?=[0-9]{3} )", self.raw)[-1]

    @property
    def error(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)["error"]
        assert found.keys() == {"message", "type", "param", "code"}
        return found


def send(port: int, data: bytes, *, patience: float = PATIENCE) -> Answer:
    """Write bytes, and read until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=patience) as connection:
        got = b""
        try:
            connection.sendall(data)
            while piece := connection.recv(1 << 16):
                got += piece
        except ConnectionError:
            pass
        return Answer(got)


def send_at_once(ports: Sequence[int], requests: Sequence[bytes]) -> list[Answer]:
    """The answers to requests that are sent together, to one port after the other."""
    with ThreadPoolExecutor(len(requests)) as pool:
        return list(pool.map(send, itertools.cycle(ports), requests))


def http(
    target: bytes = CHAT.encode(),
    body: bytes | None = None,
    headers: bytes = b"",
    *,
    key: str | None = KEY,
    method: bytes = b"POST",
    content_type: bytes | None = b"application/json",
    length: bool = True,
    close: bool = True,
) -> bytes:
    """A request; `headers` are further whole lines."""
    body = question() if body is None else body
    lines = [method + b" " + target + b" HTTP/1.1", b"host: x"]
    lines += [b"connection: close"] if close else []
    lines += [b"authorization: Bearer " + key.encode()] if key else []
    lines += [b"content-type: " + content_type] if content_type else []
    lines += [b"content-length: %d" % len(body)] if length and body else []
    return b"\r\n".join(lines) + b"\r\n" + headers + b"\r\n" + body


@dataclass
class Door:
    """A home as its clients see it. `asked` counts what has reached the model behind it; `model` is served there."""

    name: str
    port: int
    model: str
    asked: Callable[[], Sequence[Any]]

    def post(self, body: bytes | None = None, headers: bytes = b"", **words: Any) -> Answer:
        return send(self.port, http(body=question(self.model) if body is None else body, headers=headers, **words))

    def models_asked(self) -> list[Any]:
        return [each.model if isinstance(each, Asked) else each.get("model") for each in self.asked()]


@dataclass
class House:
    provider: RawProvider
    doors: dict[str, Door]
    folder: Path
    log: io.StringIO
    stage: Stage

    def serve(self, app: Any) -> int:
        """The port of another app of this house."""
        return _port(self.stage, app)


def _port(stage: Stage, app: Any) -> int:
    connections = OpenConnections(BOUNDS)
    options: Any = {"http": partial(BoundedHTTP, connections=connections), "proxy_headers": False}
    return int(stage.enter(serving(app, **options)).rpartition(":")[2])


KEYS: list[dict[str, Any]] = [
    {"id": "client", "secret": KEY},
    {"id": "narrow", "secret": NARROW, "models": ["m", "l", "narrow-name"]},
]


def served(provider: RawProvider) -> list[dict[str, Any]]:
    """`m` directly, `l` through litellm, and names that clients complete for either."""
    upstream = {"api_base": provider.base_url, "api_key": UPSTREAM_KEY, "max_retries": 0}
    named = [("m", "served", "direct"), ("l", "served", "litellm"), ("w/*", "*", "direct"), ("v/*", "*", "litellm")]
    return [
        {"model_name": name, "litellm_params": {"model": f"openai/{model}", **upstream}, "handler": handler}
        for name, model, handler in named
    ]


def gateway_words(provider: RawProvider, folder: Path) -> dict[str, Any]:
    return {
        "model_list": served(provider),
        "keys": KEYS,
        "aliases": {"narrow-name": "m"},
        "ledger": {"url": f"sqlite:///{folder}/usage.db"},
        "metrics": {"token": METRICS_TOKEN},
    }


def own_app(framework: str, model: HostModel, folder: Path) -> Any:
    """Named middlewares before an application."""
    layers = [
        Middleware(PluginMiddleware, plugins=[RequestGuard()]),
        Middleware(ModelAliasMiddleware, aliases={"narrow-name": "m"}),
        Middleware(UsageMiddleware, ledger={"url": f"sqlite:///{folder}/app.db"}),
        Middleware(AuthMiddleware, keys=KEYS),
    ]
    return APPS[framework](model, layers)


def vllm(model: HostModel, folder: Path) -> Any:
    from crplugins.homes.vllm import Middleware as VllmMiddleware

    file = folder / "vllm.yaml"
    file.write_text(yaml.safe_dump({"keys": KEYS, "ledger": {"url": f"sqlite:///{folder}/vllm.db"}}))
    app = APPS["fastapi"](model, [Middleware(VllmMiddleware)])
    with mock.patch.dict(os.environ, {"CRPLUGINS_CONFIG": str(file)}):
        app.middleware_stack = app.build_middleware_stack()
    return app


DOORS = ("direct", "litellm", "app", "vllm")
HANDLERS = ("direct", "litellm")


@contextmanager
def house(folder: Path) -> Iterator[House]:
    """All homes, with one log."""
    log = io.StringIO()
    with ExitStack() as stack:
        stage = stack.enter_context(Stage())
        stack.enter_context(log_to(log, others=True))
        provider = stage.enter(RawProvider())
        gateway = Gateway(**gateway_words(provider, folder))
        gateway.resolve()
        port = _port(stage, gateway)
        stage.run(gateway.loaded(), within=300)
        own, like_vllm = HostModel(), HostModel()
        yield House(
            provider,
            {
                "direct": Door("direct", port, "m", lambda: provider.asked),
                "litellm": Door("litellm", port, "l", lambda: provider.asked),
                "app": Door("app", _port(stage, own_app("blacksheep", own, folder)), "m", lambda: own.asked),
                "vllm": Door("vllm", _port(stage, vllm(like_vllm, folder)), "m", lambda: like_vllm.asked),
            },
            folder,
            log,
            stage,
        )
