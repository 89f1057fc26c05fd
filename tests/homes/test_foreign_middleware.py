"""Other people's middleware between ours: in every order it works, or is refused with a sentence that says what to move."""

import gzip
import itertools
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from crplugins import AuthMiddleware, ModelAliasMiddleware, RateLimitMiddleware, StreamUsageMiddleware, UsageMiddleware
from crplugins.config import ConfigError
from crplugins.testing import Drive, drive, lifespan
from tests.homes.host_model import HostModel
from tests.homes.test_middlewares import ASK, CHAT, KEY, KEYS, PRICED, host, stacked


class Base(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: Any) -> Any:
        response = await call_next(request)
        response.headers["x-base"] = "1"
        return response


FOREIGN = {
    "gzip": Middleware(GZipMiddleware, minimum_size=1),
    "cors": Middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["*"]),
    "session": Middleware(SessionMiddleware, secret_key="s"),
    "base": Middleware(Base),
}


def ours(records: list[Any]) -> list[Middleware]:
    """Innermost first."""
    return [
        Middleware(StreamUsageMiddleware),
        Middleware(RateLimitMiddleware, limits={"per_key": {"requests_per_minute": 5}}),
        Middleware(ModelAliasMiddleware, aliases={"fast": "llama"}),
        Middleware(UsageMiddleware, sinks=[records.append], model_list=PRICED),
        Middleware(AuthMiddleware, keys=KEYS),
    ]


PLACES = [(name, place) for name in FOREIGN for place in range(6) if name != "cors" or place == 5]


@pytest.mark.parametrize(("name", "place"), PLACES)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_foreign_one_at_any_place_among_ours(name, place, stream):
    records: list[Any] = []
    model = HostModel()
    layers = ours(records)
    layers.insert(place, FOREIGN[name])
    app = stacked(host(model), layers)
    headers = {**KEY, "accept-encoding": "gzip", "origin": "http://x"}
    async with lifespan(app):
        answer = await drive(app, body={**ASK, "stream": stream}, headers=headers)
        refused = await drive(app, body=ASK, headers={"origin": "http://x"})
    body = gzip.decompress(answer.body) if answer.headers.get("content-encoding") == "gzip" else answer.body
    assert answer.status == 200
    assert b"three" in body
    assert b"llama" not in body
    assert (b'"usage"' in body) is not stream
    assert answer.headers["x-ratelimit-remaining-requests"] == "4"
    assert len([key for key, _ in answer.header_list if key == "x-request-id"]) == 1
    assert refused.status == 401
    [record] = records
    assert (record.key_id, record.served_model, record.usage_source) == ("team-a", "llama", "provider")
    assert (record.usage.input_tokens, record.usage.output_tokens, record.cost_micro_usd) == (5, 3, 11)


@pytest.mark.parametrize("rewritten", [True, False])
@pytest.mark.parametrize("place", range(6))
@pytest.mark.parametrize("name", ["base", "gzip", "session"])
async def test_a_client_that_leaves_has_left_whatever_stands_between(name, place, rewritten):
    """Starlette's BaseHTTPMiddleware ends the stream then, as if the app had: nothing has broken."""
    records: list[Any] = []
    layers = ours(records)
    layers.insert(place, FOREIGN[name])
    layers = layers if rewritten else [each for each in layers if each.cls is not StreamUsageMiddleware]
    app = stacked(host_of_streams(HostModel(stalls=True)), layers)
    async with lifespan(app), Drive(app, body={**ASK, "stream": True}, headers=KEY) as call:
        await call.next_body()
        call.disconnect()
        await call.finish(within=20)
    [record] = records
    assert (record.status, record.outcome) == (200, "cancelled")


def host_of_streams(model: HostModel) -> Starlette:
    async def chat(request: Request) -> StreamingResponse:
        return StreamingResponse(model.events(await request.json()), media_type="text/event-stream")

    return Starlette(routes=[Route(CHAT, chat, methods=["POST"])])


async def test_compression_is_done_outside_and_never_between_the_app_and_those_who_read():
    for place, expected in ((0, None), (5, "gzip")):
        layers = ours([])
        layers.insert(place, FOREIGN["gzip"])
        app = stacked(host(HostModel()), layers)
        async with lifespan(app):
            answer = await drive(app, body=ASK, headers={**KEY, "accept-encoding": "gzip"})
        assert answer.headers.get("content-encoding") == expected


async def test_a_browser_asks_before_it_sends_a_key():
    app = stacked(host(HostModel()), [*ours([]), FOREIGN["cors"]])
    asked = {"origin": "http://x", "access-control-request-method": "POST"}
    assert (await drive(app, "OPTIONS", CHAT, headers=asked)).status == 200
    refused = await drive(app, body=ASK, headers={"origin": "http://x"})
    assert (refused.status, refused.headers["access-control-allow-origin"]) == (401, "*")


@pytest.mark.parametrize("place", range(5))
def test_cors_inside_auth_is_refused(place):
    layers = ours([])
    layers.insert(place, FOREIGN["cors"])
    with pytest.raises(ConfigError) as error:
        stacked(host(HostModel()), layers)
    assert str(error.value) == (
        "CORSMiddleware must stand outside Auth, because a browser asks it before it sends a key: move "
        "CORSMiddleware outside. What is added last with add_middleware stands outermost"
    )


WRONG = [
    (outer, inner)
    for inner, outer in itertools.combinations(range(1, 5), 2)  # StreamUsage may stand anywhere
]


@pytest.mark.parametrize(("outer", "inner"), WRONG)
@pytest.mark.parametrize("name", ["gzip", "session", "base"])
def test_a_wrong_order_that_cannot_be_mended_is_refused(outer, inner, name):
    """`inner` stands inside a foreign one, although it belongs outside the other."""
    layers = ours([])
    with pytest.raises(ConfigError) as error:
        stacked(host(HostModel()), [layers[outer], FOREIGN[name], layers[inner]])
    foreign = FOREIGN[name].cls.__name__
    assert f"and {foreign} is between them: move {foreign} outside both" in str(error.value)


@pytest.mark.parametrize("foreign", list(FOREIGN.values()), ids=list(FOREIGN))
async def test_stream_usage_may_stand_outside_a_foreign_one(foreign):
    records: list[Any] = []
    layers = ours(records)
    limits = Middleware(RateLimitMiddleware, limits={"global": {"requests_per_minute": 5}})
    app = stacked(host(HostModel()), [limits, layers[3], foreign, layers[0]])
    async with lifespan(app):
        answer = await drive(app, body={**ASK, "stream": True})
    assert b'"usage"' not in answer.body
    assert records[0].usage_source == "provider"


def test_the_order_counts_through_starlette_too():
    app = Starlette()
    app.add_middleware(AuthMiddleware, keys=KEYS)
    app.add_middleware(GZipMiddleware)
    app.add_middleware(RateLimitMiddleware)
    with pytest.raises(ConfigError, match="Auth must stand outside RateLimits, and GZipMiddleware is between them"):
        app.build_middleware_stack()


async def test_an_apps_headers_outside_ascii_pass_as_they_are_and_cost_neither_its_status_nor_the_record():
    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"application/json"), (b"retry-after", b"5 s\xe9condes"), (b"x-\xe9", b"\xff")]
        await send({"type": "http.response.start", "status": 429, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"error":{"message":"slow down"}}'})

    records: list[Any] = []
    answer = await drive(stacked(app, ours(records)), body=ASK, headers=KEY)
    assert answer.status == 429
    assert answer.headers["retry-after"] == "5 s\xe9condes"
    assert ("x-\xe9", "\xff") in answer.header_list
    assert [record.status for record in records] == [429]
