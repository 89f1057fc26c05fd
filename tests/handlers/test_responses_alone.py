"""Models that their provider serves in Responses alone, as LiteLLM's users have them: chats reach them too."""

import json
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import litellm
import pytest
import pytest_asyncio

from crplugins import Gateway
from crplugins.core.body import Body
from crplugins.core.dialects import CHAT, RESPONSES, Dialect
from crplugins.core.errors import GatewayError
from crplugins.handlers.any_model import AnyModel
from crplugins.handlers.deployment import Deployment
from crplugins.handlers.upstream import can_wait, in_responses, native_upstream, resolve
from crplugins.homes.gateway.open_handlers import handler_of
from tests.asgi_body import request_body
from tests.conftest import serving
from tests.core.dialects.responses_streams import SHAPES, USED, WORDS, frames, response, whole_stream
from tests.litellm_setup import make_exchange

USAGE_TOO = {"include_usage": True}
MODEL = "gpt-5-codex"  # litellm asks for a stream only of models that it knows
SECRET = "sk-of-responses-0123456789"


class OnlyResponses:
    """A provider that has `/v1/responses`, and nothing else."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Any]] = []
        self.is_cut = False
        self.last: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = await request_body(receive)
        asked = json.loads(body or b"{}")
        self.asked.append((scope["method"], scope["path"], asked.get("model")))
        is_stream = asked.get("stream") is True
        status = 200 if scope["path"].startswith("/v1/responses") else 404
        events = whole_stream(SHAPES["text"], self.last)[: -1 if self.is_cut else None]
        answer = frames(events) if is_stream else json.dumps(response(SHAPES["text"].output)).encode()
        kind = b"text/event-stream" if is_stream else b"application/json"
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind)]})
        await send({"type": "http.response.body", "body": answer})


@pytest_asyncio.fixture(params=["the mark in the name", "mode"])
async def asked(request: pytest.FixtureRequest) -> AsyncIterator[tuple[httpx.AsyncClient, OnlyResponses]]:
    provider = OnlyResponses()
    is_marked = request.param == "the mark in the name"
    async with serving(provider) as address:
        params = {"model": f"openai/responses/{MODEL}" if is_marked else f"openai/{MODEL}", "api_base": address + "/v1"}
        entry = {"model_name": "served", "litellm_params": {**params, "api_key": "sk-upstream"}}
        app = Gateway(
            model_list=[entry if is_marked else {**entry, "model_info": {"mode": "responses"}}],
            keys=[{"id": "team", "secret": SECRET}],
        )
        headers = {"authorization": f"Bearer {SECRET}"}
        async with serving(app) as url, httpx.AsyncClient(base_url=url, timeout=60, headers=headers) as client:
            while (await client.get("/readyz")).status_code != 200:
                pass
            yield client, provider


async def test_a_chat_is_asked_in_responses(asked: tuple[httpx.AsyncClient, OnlyResponses]) -> None:
    client, provider = asked
    body = {"model": "served", "messages": [{"role": "user", "content": "Hello"}]}
    answer = (await client.post("/v1/chat/completions", json=body)).json()
    assert answer["choices"][0]["message"]["content"] == WORDS
    assert answer["usage"]["prompt_tokens"] == USED["input_tokens"]
    streamed = await client.post("/v1/chat/completions", json={**body, "stream": True, "stream_options": USAGE_TOO})
    chunks = [json.loads(line[6:]) for line in streamed.text.splitlines() if line.startswith("data: {")]
    assert "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"]) == WORDS
    assert [c["choices"][0]["finish_reason"] for c in chunks if c["choices"]][-1] == "stop"
    assert chunks[-1]["usage"]["completion_tokens"] == USED["output_tokens"]
    assert streamed.text.rstrip().endswith("data: [DONE]")
    assert set(provider.asked) == {("POST", "/v1/responses", MODEL)}


FAILED = {
    "type": "response.failed",
    "response": response([], "failed", error={"code": "server_error", "message": "no"}),
}


@pytest.mark.parametrize("last", [None, FAILED], ids=["cut", "failed"])
async def test_a_stream_that_does_not_end_is_no_answer(
    asked: tuple[httpx.AsyncClient, OnlyResponses], last: dict[str, Any] | None
) -> None:
    client, provider = asked
    provider.is_cut, provider.last = last is None, last
    body = {"model": "served", "messages": [{"role": "user", "content": "Hello"}], "stream": True}
    streamed = await client.post("/v1/chat/completions", json=body)
    assert '"error":' in streamed.text
    assert '"finish_reason":"stop"' not in streamed.text


async def test_responses_pass_and_are_kept_as_at_any_other_model_of_openai(
    asked: tuple[httpx.AsyncClient, OnlyResponses],
) -> None:
    client, provider = asked
    kept = (await client.post("/v1/responses", json={"model": "served", "input": "Hello"})).json()
    assert provider.asked == [("POST", "/v1/responses", MODEL)]
    again = await client.get(f"/v1/responses/{kept['id']}")
    assert (again.status_code, again.json()["id"]) == (200, kept["id"])
    assert [method for method, _, _ in provider.asked] == ["POST", "GET"]


@pytest.mark.parametrize(
    ("model", "base", "spoken", "is_alone"),
    [
        ("openai/gpt-5-pro", None, None, True),
        ("gpt-5.2-codex", None, None, True),
        ("openai/gpt-4o", None, None, False),
        ("openai/gpt-5-pro", "http://h/v1", None, False),  # another server under a name of OpenAI's
        ("hosted_vllm/responses/m", "http://h/v1", None, True),
        ("openai/gpt-5-pro", None, frozenset({CHAT, RESPONSES}), False),
        ("openai/gpt-5-pro", None, frozenset({RESPONSES}), False),  # as `supported_endpoints` says
        ("openai/*", None, None, False),  # as each request says
        ("openai/responses/*", "http://h/v1", None, True),
    ],
)
def test_litellm_translates_where_nothing_but_responses_is_served(
    model: str, base: str | None, spoken: frozenset[Dialect] | None, is_alone: bool
) -> None:
    provider = model.partition("/")[0] if "/" in model else "openai"
    deployment = Deployment("m", model, api_base=base, provider=provider, protocols=spoken)
    native = native_upstream(deployment, "auto", {})
    assert (native is not None) is is_alone
    if native is not None:
        assert resolve(deployment, "auto", {}) is None
        assert can_wait(deployment, "auto", {})
        assert in_responses(deployment).model == f"{provider}/responses/{native.model}"
    assert native_upstream(deployment, "direct", {}) is native_upstream(deployment, "litellm", {}) is None


def test_the_names_are_those_of_litellms_list() -> None:
    def is_alone(name: str) -> bool:
        return native_upstream(Deployment("m", f"openai/{name}"), "auto", {}) is not None

    listed = json.loads((Path(litellm.__file__).parent / "model_prices_and_context_window_backup.json").read_bytes())
    modes = {
        name: each.get("mode")
        for name, each in listed.items()
        if each.get("litellm_provider") == "openai" and "/" not in name
    }
    assert sum(mode == "responses" for mode in modes.values()) > 15
    assert [name for name, mode in modes.items() if is_alone(name) is not (mode == "responses")] == []


async def test_of_a_wildcard_at_openai_each_request_says_whether_its_model_is_served_in_responses_alone() -> None:
    provider = OnlyResponses()
    async with serving(provider) as address:
        deployment = Deployment("any/*", "openai/*", api_base=address + "/v1", api_key="sk-upstream")
        openais = Deployment("any/*", "openai/*")
        upstream = resolve(openais, "auto", {})
        assert upstream is not None
        assert isinstance(handler_of(openais, upstream, "auto"), AnyModel)
        assert not isinstance(handler_of(openais, upstream, "direct"), AnyModel)
        another = resolve(deployment, "auto", {})
        assert another is not None
        assert not isinstance(handler_of(deployment, another, "auto"), AnyModel)
        async with AnyModel(deployment, another) as handler:
            for model, path in ((MODEL, "/v1/responses"), ("gpt-4o", "/v1/chat/completions")):
                asked = {"model": f"any/{model}", "messages": [{"role": "user", "content": "Hi"}]}
                body, exchange = Body(json.dumps(asked).encode()), make_exchange()
                exchange.body = body
                with suppress(GatewayError):
                    await handler.answer(exchange, body)
                assert exchange.served_model == model
                assert provider.asked[-1] == ("POST", path, model)
