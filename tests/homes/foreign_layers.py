"""Ours and other people's middleware as layers of one app, all orders of them, and what is to be expected of each."""

import copy
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from crplugins import AuthMiddleware, MetricsMiddleware, ModelAliasMiddleware, RateLimitMiddleware, UsageMiddleware
from crplugins.homes.middlewares import NamedMiddleware
from tests.homes.host_model import PRICED, HostModel

CHAT = "/v1/chat/completions"
SECRET = "sk-team-a"
OURS = ("metrics", "auth", "usage", "alias", "limits")
"""In their one order, outermost first."""

FOREIGN = ("gzip", "cors", "session", "otel")

Order = tuple[str, ...]
"""Names of layers, outermost first."""


class Layers:
    """One of each, made for one server: what they leave behind.

    Attributes:
        records: what Usage wrote.
        spans: finished spans.
    """

    def __init__(self) -> None:
        self.records: list[Any] = []
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self._made = {
            "metrics": Middleware(MetricsMiddleware, metrics={"token": None}),
            "auth": Middleware(AuthMiddleware, keys=[{"id": "team-a", "secret": SECRET}]),
            "usage": Middleware(UsageMiddleware, sinks=[self.records.append], model_list=PRICED),
            "alias": Middleware(ModelAliasMiddleware, aliases={"fast": "llama"}),
            "limits": Middleware(RateLimitMiddleware, limits={"per_key": {"requests_per_day": 50}}),
            "gzip": Middleware(GZipMiddleware, minimum_size=1),
            "cors": Middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["*"], allow_headers=["*"]),
            "session": Middleware(SessionMiddleware, secret_key="s"),
            "otel": Middleware(OpenTelemetryMiddleware, tracer_provider=self.provider),
        }

    def around(self, app: Any, order: Iterable[str]) -> Any:
        """Raises ConfigError."""
        for name in reversed(tuple(order)):
            app = self.layer(app, name)
        return app

    def layer(self, app: Any, name: str) -> Any:
        made = self._made[name]
        return made.cls(app, *made.args, **made.kwargs)

    def bricks(self) -> dict[str, Callable[[Any], Any]]:
        """What makes a layer around an app, without reading its words again each time. The layers share their plugins."""
        return {name: _brick(self.layer(host(HostModel()), name)) for name in self._made}

    def of_kind(self, kind: SpanKind) -> list[Any]:
        return [span for span in self._exporter.get_finished_spans() if span.kind is kind]

    def clear(self) -> None:
        self.records.clear()
        self._exporter.clear()


def _brick(made: Any) -> Callable[[Any], Any]:
    def around(app: Any) -> Any:
        if isinstance(made, NamedMiddleware):
            return NamedMiddleware(app, made.plugins, {})
        layer = copy.copy(made)
        layer.app = app
        return layer

    return around


def host(model: HostModel) -> Starlette:
    """Answers chat completions, and remembers in the session, if there is one, that it has."""

    async def chat(request: Request) -> Any:
        body = await request.json()
        if "session" in request.scope:
            request.session["seen"] = True
        if body.get("stream"):
            return StreamingResponse(model.stream(body), media_type="text/event-stream")
        return JSONResponse(model.answer(body))

    return Starlette(routes=[Route(CHAT, chat, methods=["POST"])])


def refused(order: Sequence[str]) -> bool:
    """Whether an order is wrong and cannot be mended by what neighbours do."""
    return _cors_is_guarded(order) or any(_crossed(order[start:]) for start in range(len(order)))


def _cors_is_guarded(order: Sequence[str]) -> bool:
    return "cors" in order and "auth" in order[: list(order).index("cors")]


def _crossed(order: Sequence[str]) -> bool:
    """Whether the first stands, beyond a foreign one, outside something it belongs inside of."""
    if order[0] not in OURS:
        return False
    beyond = list(itertools.dropwhile(lambda name: name in OURS, order))
    return any(OURS.index(name) < OURS.index(order[0]) for name in beyond if name in OURS)


def accepted_orders() -> list[Order]:
    """All that are accepted, those that fuse to the same once: neighbours of ours in their one order."""
    return list(_fused_orders(()))


def _fused_orders(begun: Order) -> Iterable[Order]:
    if refused(begun):  # and so is whatever begins like this
        return
    left = [name for name in (*OURS, *FOREIGN) if name not in begun]
    if not left:
        yield begun
    for name in left:
        neighbour = begun[-1] if begun else ""
        if not (name in OURS and neighbour in OURS and OURS.index(name) < OURS.index(neighbour)):
            yield from _fused_orders((*begun, name))


def neighbours_reversed(order: Order) -> Order:
    """An order that fuses to the same."""
    runs = [list(run) for _, run in itertools.groupby(order, key=lambda name: name in OURS or name)]
    return tuple(name for run in runs for name in reversed(run))


def outside(order: Sequence[str], name: str, other: str) -> bool:
    return list(order).index(name) < list(order).index(other)
