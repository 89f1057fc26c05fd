"""What every plugin must keep, and what this one is for."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from output_ceiling import OutputCeiling

from crplugins import Exchange, Plugin, PluginMiddleware, Principal
from crplugins.testing import Answer, PluginContract, drive

CHAT = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}


class As(Plugin):
    """Stands in for Auth: every request is of one key."""

    def __init__(self, **tags: str) -> None:
        self.principal = Principal("key", tags=tags)

    async def on_request(self, exchange: Exchange) -> None:
        exchange.principal = self.principal


class TestLowering(PluginContract):
    def make_plugin(self) -> Plugin:
        return OutputCeiling(ceilings={}, default=5, note=" [cut at {ceiling}]")


class TestRefusing(PluginContract):
    def make_plugin(self) -> Plugin:
        return OutputCeiling(ceilings={}, default=5, above="refuse")

    def refused_request(self) -> Mapping[str, Any]:
        return {"body": {**CHAT, "max_tokens": 6}}


class Model:
    """An app that answers with one choice, and keeps what it was asked."""

    def __init__(self, reason: str = "length", content: str | None = "Well") -> None:
        self.asked = b""
        self._reason, self._content = reason, content

    async def __call__(self, _scope: Any, receive: Any, send: Any) -> None:
        self.asked = (await receive())["body"]
        stream = json.loads(self.asked).get("stream")
        choice = {
            "index": 0,
            "finish_reason": self._reason,
            "delta" if stream else "message": {"content": self._content},
        }
        kind, body = b"application/json", json.dumps({"choices": [choice]})
        if stream:
            kind, body = b"text/event-stream", f"data: {body}\n\ndata: [DONE]\n\n"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
        await send({"type": "http.response.body", "body": body.encode()})


async def ask(model: Model, plugin: Plugin, caller: Plugin | None = None, **options: Any) -> Answer:
    return await drive(PluginMiddleware(model, plugins=[caller or As(), plugin]), body={**CHAT, **options})


@pytest.mark.parametrize(
    ("tags", "asked", "arrived"),
    [
        ({"tier": "free"}, {}, b'"max_completion_tokens":64'),
        ({"tier": "free"}, {"max_tokens": 100}, b'"max_tokens":64'),
        ({"tier": "free"}, {"max_completion_tokens": 100}, b'"max_completion_tokens":64'),
        ({"tier": "free"}, {"max_tokens": 10}, b'"max_tokens":10'),
        ({"tier": "gold"}, {"max_tokens": 100}, b'"max_tokens":100'),
        ({}, {"max_tokens": 2000}, b'"max_tokens":1000'),
    ],
)
async def test_the_ceiling_goes_by_the_tag(tags: dict[str, str], asked: dict[str, int], arrived: bytes) -> None:
    model, plugin = Model(), OutputCeiling(ceilings={"free": 64, "gold": 4096}, default=1000)
    await ask(model, plugin, As(**tags), **asked)
    assert arrived in model.asked
    assert model.asked.count(b"max_") == 1


async def test_without_a_ceiling_a_request_stays_as_it_is() -> None:
    model = Model()
    answer = await ask(model, OutputCeiling(ceilings={"free": 64}), As(tier="gold"), max_tokens=10**9)
    assert b'"max_tokens":1000000000' in model.asked
    assert "x-output-ceiling" not in answer.headers


async def test_a_lowered_request_is_told_so_in_a_header() -> None:
    plugin = OutputCeiling(ceilings={"free": 64})
    assert (await ask(Model(), plugin, As(tier="free"))).headers["x-output-ceiling"] == "64"
    assert "x-output-ceiling" not in (await ask(Model(), plugin, As(tier="free"), max_tokens=3)).headers


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("model", "noted"), [(Model(), True), (Model(reason="stop"), False), (Model(content=None), False)]
)
async def test_only_text_that_the_ceiling_has_cut_is_noted(*, model: Model, noted: bool, stream: bool) -> None:
    answer = await ask(model, OutputCeiling(ceilings={}, default=64, note=" [cut at {ceiling}]"), stream=stream)
    assert (b"Well [cut at 64]" in answer.body) is noted
    assert answer.complete


async def test_too_much_is_refused_in_openais_shape() -> None:
    answer = await ask(Model(), OutputCeiling(ceilings={}, default=64, above="refuse"), max_tokens=65)
    assert answer.status == 400
    assert answer.json()["error"] == {
        "message": "max_tokens is too large: 65. Your key allows at most 64 output tokens.",
        "type": "invalid_request_error",
        "param": "max_tokens",
        "code": "invalid_value",
    }


def test_a_stream_is_not_rewritten_for_nothing() -> None:
    assert not OutputCeiling(ceilings={}).rewrites_events
    assert OutputCeiling(ceilings={}, note="!").rewrites_events


@pytest.mark.parametrize("options", [{"ceilings": {"free": 0}}, {"ceilings": {}, "default": -1}])
def test_a_ceiling_is_1_or_more(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="1 or more"):
        OutputCeiling(**options)
