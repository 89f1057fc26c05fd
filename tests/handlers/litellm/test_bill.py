"""What an answer says of its bill comes through litellm, plain and streamed, whether the client asks for usage or not."""

import json
import sqlite3
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from crplugins import Gateway
from crplugins.testing import Drive, FakeProvider, Script, lifespan

KEY = "sk-client-key-0123456789"
PRICES = {
    "input_cost_per_token": 10e-6,
    "output_cost_per_token": 50e-6,
    "cache_read_input_token_cost": 1e-6,
    "cache_creation_input_token_cost": 12e-6,
    "cache_creation_input_token_cost_above_1hr": 20e-6,
    "input_cost_per_token_priority": 20e-6,
    "output_cost_per_token_priority": 100e-6,
    "search_context_cost_per_query": {"search_context_size_medium": 0.01},
    "provider_specific_entry": {"us": 1.1},
}
ANTHROPIC_USAGE = {
    "input_tokens": 100,
    "cache_read_input_tokens": 1000,
    "cache_creation_input_tokens": 500,
    "cache_creation": {"ephemeral_5m_input_tokens": 300, "ephemeral_1h_input_tokens": 200},
    "server_tool_use": {"web_search_requests": 2},
    "service_tier": "standard",
    "inference_geo": "us",
    "output_tokens": 40,
}
# 100 in, 1,000 read, 300 written for minutes and 200 for an hour, 40 out, a tenth more in this region; two searches.
ANTHROPIC_COST = (1_000 + 1_000 + 3_600 + 4_000 + 2_000) * 11 // 10 + 20_000


def sse(*events: dict[str, Any]) -> list[bytes]:
    return [f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in events]


def anthropic(streamed: bool, counted_last: dict[str, Any] | None = None) -> Script:
    """`counted_last` are the counts at the end of a stream, without which they are all but two."""
    message = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-9-20310506", "stop_reason": None,
        "content": [],
    }  # fmt: skip
    if not streamed:
        content = [{"type": "text", "text": "Hello"}]
        return Script(body={**message, "content": content, "stop_reason": "end_turn", "usage": ANTHROPIC_USAGE})
    end = counted_last or {k: v for k, v in ANTHROPIC_USAGE.items() if k not in ("service_tier", "inference_geo")}
    return Script(
        events=sse(
            {"type": "message_start", "message": {**message, "usage": {**ANTHROPIC_USAGE, "output_tokens": 1}}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": end},
            {"type": "message_stop"},
        )
    )


def openai(streamed: bool) -> Script:
    usage = {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14, "cost": 0.007}
    head = {"id": "c-1", "created": 1, "model": "m-2031-05-06", "service_tier": "priority"}
    if not streamed:
        choice = {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}
        return Script(body={**head, "object": "chat.completion", "choices": [choice], "usage": usage})
    head["object"] = "chat.completion.chunk"
    chunks = [
        {**head, "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hello"}, "finish_reason": None}]},
        {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {**head, "choices": [], "usage": usage},
    ]
    return Script(events=[f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks] + [b"data: [DONE]\n\n"])


async def bill_of(tmp_path: Any, model: str, script: Script, body: dict[str, Any]) -> dict[str, Any]:
    """The row of one request in the ledger."""
    async with FakeProvider() as provider:
        provider.enqueue(script)
        url = provider.base_url.removesuffix("/v1") if model.startswith("anthropic") else provider.base_url
        return await bill_from(tmp_path, model, url, body)


async def bill_from(tmp_path: Any, model: str, url: str, body: dict[str, Any]) -> dict[str, Any]:
    served = {"model": model, "api_base": url, "api_key": "sk-upstream"}
    gateway = Gateway(
        model_list=[{"model_name": "m", "litellm_params": served, "model_info": PRICES, "handler": "litellm"}],
        keys=[{"id": "a", "secret": KEY}],
        ledger={"url": f"sqlite:///{tmp_path}/usage.db", "commit_seconds": 0},
    )
    async with lifespan(gateway, within=120):
        request = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 50, **body}
        async with Drive(gateway, body=request, headers={"authorization": f"Bearer {KEY}"}) as call:
            answer = await call.finish(within=60)
        assert answer.status == 200, answer.body
    connection = sqlite3.connect(tmp_path / "usage.db")
    connection.row_factory = sqlite3.Row
    [row] = connection.execute("SELECT * FROM usage")
    connection.close()
    return dict(row)


ASKED = [
    pytest.param({}, id="plain"),
    pytest.param({"stream": True}, id="stream"),
    pytest.param({"stream": True, "stream_options": {"include_usage": True}}, id="stream with usage"),
]


@pytest.fixture(autouse=True)
def blockbuster():
    """Nothing: litellm reads files on its first call."""


@pytest.mark.parametrize("body", ASKED)
async def test_anthropics_caches_searches_and_regions_are_charged(tmp_path, body):
    row = await bill_of(tmp_path, "anthropic/claude-9", anthropic("stream" in body), body)
    assert (row["input_tokens"], row["output_tokens"]) == (1600, 40)
    assert (row["cached_input_tokens"], row["cache_write_input_tokens"]) == (1000, 500)
    assert (row["cost_micro_usd"], row["cost_source"]) == (ANTHROPIC_COST, "config")
    assert (row["service_tier"], row["usage_source"]) == ("standard", "provider")
    assert row["provider_model"] == "claude-9-20310506"


@pytest.mark.parametrize(
    "counted_last",
    [
        pytest.param({"output_tokens": 40}, id="output alone"),
        pytest.param({"input_tokens": 100, "output_tokens": 40}, id="no caches"),
        pytest.param(dict.fromkeys(ANTHROPIC_USAGE, None) | {"input_tokens": 0, "output_tokens": 40}, id="empty"),
    ],
)
async def test_what_anthropics_stream_counts_at_its_start_need_not_stand_at_its_end(tmp_path, counted_last):
    row = await bill_of(tmp_path, "anthropic/claude-9", anthropic(True, counted_last), {"stream": True})
    assert (row["input_tokens"], row["output_tokens"]) == (1600, 40)
    assert (row["cached_input_tokens"], row["cache_write_input_tokens"]) == (1000, 500)
    assert (row["cost_micro_usd"], row["usage_source"]) == (ANTHROPIC_COST, "provider")


@pytest.mark.parametrize(
    "counted_last",
    [
        pytest.param({"input_tokens": 100}, id="left out"),
        pytest.param({"output_tokens": 0}, id="0"),
        pytest.param({"input_tokens": 100, "output_tokens": None}, id="null"),
    ],
)
async def test_the_first_token_that_anthropics_stream_counts_at_its_start_is_not_its_whole_output(
    tmp_path, counted_last
):
    row = await bill_of(tmp_path, "anthropic/claude-9", anthropic(True, counted_last), {"stream": True})
    assert (row["input_tokens"], row["usage_source"]) == (1600, "estimated")


@pytest.mark.parametrize("body", ASKED)
async def test_the_tier_the_model_and_the_providers_own_cost_come_through(tmp_path, body):
    row = await bill_of(tmp_path, "openai/m", openai("stream" in body), body)
    assert (row["cost_micro_usd"], row["provider_cost_micro_usd"]) == (200 + 400, 7_000)
    assert (row["service_tier"], row["provider_model"]) == ("priority", "m-2031-05-06")


def counted_elsewhere(place: str, streamed: bool) -> Script:
    """Counts inside the choice, as Kimi has them in streams, or in Groq's own object."""
    counts = {"prompt_tokens": 30, "completion_tokens": 7, "total_tokens": 37, "cached_tokens": 12}
    in_choice = {"usage": counts} if place == "choice" else {}
    head = {"id": "c-1", "created": 1, "model": "m-2031-05-06"}
    beside = {"x_groq": {"id": "req_1", "usage": counts}} if place == "x_groq" else {}
    said, end = {"role": "assistant", "content": "Hello"}, {"index": 0, "finish_reason": "stop", **in_choice}
    if not streamed:
        return Script(body={**head, "object": "chat.completion", "choices": [{**end, "message": said}], **beside})
    head["object"] = "chat.completion.chunk"
    chunks = [
        {**head, "choices": [{"index": 0, "delta": said, "finish_reason": None}]},
        {**head, "choices": [{**end, "delta": {}}], **beside},
    ]
    return Script(events=[f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks] + [b"data: [DONE]\n\n"])


@pytest.mark.parametrize("place", ["choice", "x_groq"])
@pytest.mark.parametrize("body", ASKED)
async def test_counts_that_stand_elsewhere_than_beside_the_choices_are_the_providers(tmp_path, body, place):
    row = await bill_of(tmp_path, "openai/m", counted_elsewhere(place, "stream" in body), body)
    assert (row["input_tokens"], row["output_tokens"], row["cached_input_tokens"]) == (30, 7, 12)
    assert row["usage_source"] == "provider"


@pytest.mark.filterwarnings("ignore:::litellm", "ignore:::pydantic")
@pytest.mark.parametrize("body", ASKED)
async def test_googles_traffic_type_is_the_tier(tmp_path, serve, body):
    usage = {"promptTokenCount": 10, "candidatesTokenCount": 4, "totalTokenCount": 14}
    said = {"content": {"role": "model", "parts": [{"text": "Hello"}]}, "finishReason": "STOP", "index": 0}
    whole = {
        "candidates": [said],
        "usageMetadata": {**usage, "trafficType": "ON_DEMAND_PRIORITY"},
        "modelVersion": "gemini-9-001",
    }

    async def answer(request: Request) -> Response:
        if "stream" not in request.url.path:
            return JSONResponse(whole)
        return Response(f"data: {json.dumps(whole)}\r\n\r\n", media_type="text/event-stream")

    async with serve(Starlette(routes=[Route("/{path:path}", answer, methods=["POST"])])) as url:
        row = await bill_from(tmp_path, "gemini/gemini-9", url, body)
    assert (row["cost_micro_usd"], row["service_tier"]) == (200 + 400, "ON_DEMAND_PRIORITY")
