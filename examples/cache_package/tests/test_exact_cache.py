"""What every plugin must keep, and what this one is for."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from exact_cache import ExactCache

from crplugins import Exchange, Plugin, PluginMiddleware, Principal
from crplugins.testing import Answer, PluginContract, drive, lifespan

CHAT = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
USAGE = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}


class TestContract(PluginContract):
    learns = True

    def make_plugin(self) -> Plugin:
        return ExactCache()

    def answered_request(self) -> Mapping[str, Any]:
        return self.accepted_request()


class TestSharedBetweenKeys(TestContract):
    shares_answers = True

    def make_plugin(self) -> Plugin:
        return ExactCache(shared=True)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class As(Plugin):
    """Stands in for Auth: requests are of the key that a header names."""

    def on_request(self, exchange: Exchange) -> None:
        exchange.principal = Principal(exchange.header(b"x-key") or "a")


class Model:
    """An app that answers with a number that goes up."""

    asked = 0

    def __init__(self, size: int = 1) -> None:
        self._size = size

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        stream = json.loads((await receive())["body"]).get("stream")
        self.asked += 1
        text = str(self.asked) * self._size
        choice = {"index": 0, "finish_reason": "stop", "delta" if stream else "message": {"content": text}}
        kind, body = b"application/json", json.dumps({"choices": [choice], "usage": USAGE})
        if stream:
            kind, body = b"text/event-stream", f": hello\n\ndata: {body}\n\ndata: [DONE]\n\n"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
        await send({"type": "http.response.body", "body": body.encode()})


async def answers(model: Model, cache: ExactCache, *requests: Mapping[str, Any]) -> list[Answer]:
    stack = PluginMiddleware(model, plugins=[As(), cache])
    async with lifespan(stack):
        return [
            await drive(stack, body={**CHAT, **dict(each.get("body", {}))}, headers=each.get("headers", {}))
            for each in requests
        ]


@pytest.mark.parametrize("stream", [False, True])
async def test_the_same_request_is_answered_once(*, stream: bool) -> None:
    model, body = Model(), {"stream": stream}
    first, second = await answers(model, ExactCache(), {"body": body}, {"body": body})
    assert model.asked == 1
    assert second.body == first.body.removeprefix(b": hello\n\n")
    assert ("x-cache" in first.headers, second.headers["x-cache"]) == (False, "hit")


async def test_another_body_another_form_and_another_key_are_other_requests() -> None:
    model = Model()
    await answers(
        model,
        ExactCache(),
        {},
        {"body": {"temperature": 0}},
        {"body": {"stream": True}},
        {"headers": {"x-key": "b"}},
    )
    assert model.asked == 4


@pytest.mark.parametrize(("control", "asked"), [("no-cache", 2), ("no-store", 2), ("max-age=5", 1)])
async def test_a_client_may_have_a_new_answer(control: str, asked: int) -> None:
    model = Model()
    await answers(model, ExactCache(), {}, {"headers": {"cache-control": control}})
    assert model.asked == asked


async def test_of_a_request_that_says_no_store_nothing_is_kept() -> None:
    model = Model()
    await answers(model, ExactCache(), {"headers": {"cache-control": "no-store"}}, {})
    assert model.asked == 2


async def test_an_answer_is_old_after_a_time() -> None:
    model, clock = Model(), Clock()
    cache = ExactCache(seconds=10, clock=clock)
    for clock.now in (0.0, 9.9, 10.0):
        await answers(model, cache, {})
    assert model.asked == 2


async def test_memory_is_bounded_and_what_was_used_stays() -> None:
    model, cache = Model(size=300), ExactCache(megabytes=0.001)
    bodies = [{"body": {"seed": seed}} for seed in (1, 2, 1, 3, 1, 2)]
    await answers(model, cache, *bodies)
    assert model.asked == 4  # 3 took the place of 2, and 2 that of 3


@pytest.mark.parametrize("options", [{"seconds": 0}, {"megabytes": -1}])
def test_a_cache_without_room_is_a_mistake(options: Mapping[str, Any]) -> None:
    with pytest.raises(ValueError, match="more than 0"):
        ExactCache(**options)
