"""Anthropic's SDK in front of the own gateway, and upstreams behind it that speak Messages: over real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anthropic
import httpx
import pytest
from anthropic import AsyncAnthropic, beta_async_tool

from crplugins.core.dialects import MESSAGES
from crplugins.core.usage import TokenUsage
from crplugins.homes.gateway.app import Gateway
from crplugins.metering.record import UsageRecord
from tests.asgi_body import request_body
from tests.conftest import serving
from tests.core.dialects.test_messages import (
    COUNTS,
    END,
    MICRO_USD,
    PING,
    START,
    STOP,
    WHOLE,
    Fields,
    spoken,
    sse,
    started,
    text,
)
from tests.homes.gateway.test_dialects import Records

SECRET = "sk-test-of-messages"
PRICES = {
    "input_cost_per_token": 3e-6, "output_cost_per_token": 15e-6, "cache_read_input_token_cost": 3e-7,
    "cache_creation_input_token_cost": 3.75e-6, "cache_creation_input_token_cost_above_1hr": 6e-6,
    "search_context_cost_per_query": {"search_context_size_medium": 0.01},
}  # fmt: skip
ASKED: dict[str, Any] = {
    "model": "claude", "max_tokens": 1000, "messages": [{"role": "user", "content": "What colour is the sky?"}],
}  # fmt: skip


class Reply:
    def __init__(self, body: bytes | Fields, status: int = 200, **headers: str) -> None:
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.status = status
        kind = "application/json" if self.body[:1] == b"{" else "text/event-stream"
        self.headers = {"content-type": kind, **{name.replace("_", "-"): value for name, value in headers.items()}}


class Asked:
    def __init__(self, scope: Any, body: bytes) -> None:
        self.path: str = scope["path"]
        self.query: str = scope["query_string"].decode()
        self.headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.body: Fields = json.loads(body)


class Upstream:
    """An ASGI app that sends one reply after the other, the last of them again and again."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.asked: list[Asked] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = await request_body(receive)
        self.asked.append(Asked(scope, body))
        reply = self.reply(self.asked[-1])
        headers = [(name.encode(), value.encode()) for name, value in reply.headers.items()]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})

    def reply(self, asked: Asked) -> Reply:
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


class Client:
    """Anthropic's SDK and plain HTTP, with the key of a team; and the records of its requests."""

    def __init__(self, url: str, records: list[UsageRecord]) -> None:
        self.url = url
        self.records = records
        self.sdk = AsyncAnthropic(base_url=url, api_key=SECRET, max_retries=0)
        self.http = httpx.AsyncClient(base_url=url, timeout=60, headers={"x-api-key": SECRET})


@asynccontextmanager
async def gateway(
    *upstreams: Upstream,
    model: str = "anthropic/claude-5",
    params: Fields | None = None,
    model_info: Fields | None = None,
    listed_prices: bool = False,
    **words: Any,
) -> AsyncIterator[Client]:
    """Before each of the upstreams as a deployment of `claude`, `claude-2` and so on."""
    records = Records()
    async with AsyncExitStack() as stack:
        urls = [await stack.enter_async_context(serving(upstream)) for upstream in upstreams]
        listed = [
            {
                "model_name": "claude" if number == 1 else f"claude-{number}",
                "handler": "direct",
                "num_retries": 0,
                "litellm_params": {"model": model, "api_base": url, "api_key": "sk-upstream", **(params or {})},
                "model_info": ({} if listed_prices else PRICES) | (model_info or {}),
            }
            for number, url in enumerate(urls, 1)
        ]
        given = {"keys": [{"id": "team", "secret": SECRET}], **words}
        plugins = [{"use": records, "before": "Auth"}]
        app = await asyncio.to_thread(
            lambda: Gateway(model_list=listed, **given, plugins=plugins)
        )  # it may read a file
        async with serving(app) as url:
            client = Client(url, records.made)
            async with client.sdk, client.http:
                yield client


WITH_TOOLS = b"".join(event.raw for event in MESSAGES.stream_of(json.dumps(WHOLE).encode()))
SPOKEN = spoken({"input_tokens": 25, "output_tokens": 1}, {"output_tokens": 4})
TEXT: Fields = {
    **WHOLE, "content": [{"type": "text", "text": "Blue."}], "stop_reason": "end_turn",
    "usage": {"input_tokens": 25, "output_tokens": 4},
}  # fmt: skip


def refusal(kind: str, message: str, **more: Any) -> Fields:
    return {"type": "error", "error": {"type": kind, "message": message, **more}, "request_id": "req_upstream"}


async def test_the_sdk_reads_a_whole_message_and_it_is_charged_to_the_micro_dollar() -> None:
    async with gateway(Upstream(Reply(WHOLE))) as client:
        message = await client.sdk.messages.create(**ASKED)
    assert message.model == "claude"
    assert [block.type for block in message.content] == [block["type"] for block in WHOLE["content"]]
    [record] = client.records
    assert message._request_id == record.request_id
    assert (record.usage, record.usage_source) == (COUNTS, "provider")
    assert (record.cost_micro_usd, record.cost_source) == (MICRO_USD, "config")
    assert (record.served_model, record.provider) == ("claude-5", "anthropic")


async def test_the_sdk_reads_a_stream_of_all_blocks_and_it_is_charged_the_same() -> None:
    async with gateway(Upstream(Reply(WITH_TOOLS))) as client:
        async with client.sdk.messages.stream(**ASKED) as stream:
            message = await stream.get_final_message()
        response = await client.http.post("/v1/messages", json={**ASKED, "stream": True})
    assert message.model == "claude"
    assert message.stop_reason == "tool_use"
    assert message.content[-1].model_dump(include={"name", "input"}) == {
        "name": "get_weather",
        "input": {"city": "Paris"},
    }
    assert response.content == WITH_TOOLS
    assert [(r.usage, r.cost_micro_usd) for r in client.records] == [(COUNTS, MICRO_USD)] * 2


async def test_the_tool_runner_of_the_sdk_goes_round() -> None:
    @beta_async_tool
    async def get_weather(city: str) -> str:
        """The weather in a city."""
        return f"Sunny in {city}."

    asks = {
        **TEXT, "content": [{"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Paris"}}],
        "stop_reason": "tool_use",
    }  # fmt: skip
    upstream = Upstream(Reply(asks), Reply(TEXT))
    async with gateway(upstream) as client:
        runner = client.sdk.beta.messages.tool_runner(**ASKED, tools=[get_weather], betas=["a-beta-2026-01-01"])
        message = await runner.until_done()
    assert message.content[0].model_dump(include={"text"}) == {"text": "Blue."}
    assert [len(asked.body["messages"]) for asked in upstream.asked] == [1, 3]
    assert upstream.asked[1].body["messages"][-1]["content"][0]["content"] == "Sunny in Paris."
    assert all("a-beta-2026-01-01" in asked.headers["anthropic-beta"].split(",") for asked in upstream.asked)
    answered = [record for record in client.records if record.status == 200]
    assert [record.usage.output_tokens for record in answered if record.usage] == [4, 4]


@pytest.mark.parametrize("thread", [{"type": "create"}, {"type": "continue", "previous_message_id": "msg_of_another"}])
@pytest.mark.parametrize("info", [{}, {"supported_endpoints": ["/v1/chat/completions"]}])
async def test_no_conversation_is_kept_for_the_account_that_all_keys_share(thread: Fields, info: Fields) -> None:
    """Nor is one that is not kept taken for the whole: Anthropic's SDKs know the code, and send all of it."""
    upstream = Upstream(Reply(TEXT))
    async with gateway(upstream, model_info=info) as client:
        with pytest.raises(anthropic.BadRequestError) as refused:
            await client.sdk.beta.messages.create(**ASKED, extra_body={"thread": thread})
        answered = await client.sdk.beta.messages.create(**ASKED, extra_body={"thread": None}) if not info else None
    assert refused.value.body["error"]["details"] == {"error_code": "thread_unsupported_request", "param": "thread"}
    assert len(upstream.asked) == (0 if answered is None else 1)


async def test_tokens_are_counted_for_nothing() -> None:
    upstream = Upstream(Reply({"input_tokens": 2095}))
    limits = {"per_key": {"requests_per_minute": 2, "tokens_per_minute": 1}}
    async with gateway(upstream, aliases={"fast": "claude"}, limits=limits, missing_usage="refuse") as client:
        asked = {**ASKED, "model": "fast"}
        del asked["max_tokens"]
        count = await client.sdk.messages.count_tokens(**asked)
        with pytest.raises(anthropic.NotFoundError):
            await client.sdk.messages.count_tokens(**{**asked, "model": "another"})
        with pytest.raises(anthropic.RateLimitError):
            await client.sdk.messages.count_tokens(**asked)
    assert count.input_tokens == 2095
    [sent] = upstream.asked
    assert (sent.path, sent.body["model"]) == ("/v1/messages/count_tokens", "claude-5")
    record = client.records[0]
    assert (record.usage, record.usage_source, record.cost_micro_usd) == (TokenUsage(), "none", 0)


async def test_an_upstream_that_cannot_count_is_not_taken_for_one_that_is_ill() -> None:
    upstream = Upstream(*[Reply({"detail": "Not Found"}, 404)] * 4, Reply(TEXT))
    async with gateway(upstream) as client:
        for _ in range(4):
            with pytest.raises(anthropic.NotFoundError) as told:
                await client.sdk.messages.count_tokens(model="claude", messages=ASKED["messages"])
        await client.sdk.messages.create(**ASKED)
    assert told.value.error_code == "model_not_supported_in_endpoint"
    assert "v1/messages/count_tokens" in told.value.message


async def test_the_defaults_of_a_deployment_are_those_of_what_is_generated() -> None:
    upstream = Upstream(Reply({"input_tokens": 1}), Reply(TEXT))
    async with gateway(upstream, params={"temperature": 0.5}) as client:
        await client.sdk.messages.count_tokens(model="claude", messages=ASKED["messages"])
        await client.sdk.messages.create(**ASKED)
    assert ["temperature" in asked.body for asked in upstream.asked] == [False, True]


async def test_the_upstream_is_shown_the_gateways_key_and_the_version_and_features_that_the_client_speaks() -> None:
    upstream = Upstream(Reply(TEXT))
    async with gateway(upstream) as client:
        for headers in (
            [("anthropic-version", "2024-01-01"), ("anthropic-beta", "a-2025,b"), ("anthropic-beta", "c, a-2025")],
            [("anthropic-version", "no version"), ("anthropic-beta", "x y,;,")],
            [],
        ):
            await client.http.post("/v1/messages", json=ASKED, headers=[*headers, ("x-api-key", SECRET)])
    sent = [asked.headers for asked in upstream.asked]
    assert [headers["anthropic-version"] for headers in sent] == ["2024-01-01", "2023-06-01", "2023-06-01"]
    assert [headers.get("anthropic-beta") for headers in sent] == ["a-2025,b,c", None, None]
    assert {headers["x-api-key"] for headers in sent} == {"sk-upstream"}
    assert {headers["authorization"] for headers in sent} == {"Bearer sk-upstream"}
    assert SECRET not in str(sent)


async def test_what_the_configuration_says_of_version_and_features_comes_first() -> None:
    upstream = Upstream(Reply(TEXT))
    own = {"Anthropic-Version": "2023-01-01", "Anthropic-Beta": "own", "X-Team": "a"}
    async with gateway(upstream, params={"extra_headers": own}) as client:
        await client.http.post("/v1/messages", json=ASKED, headers={"anthropic-beta": "theirs,own"})
    headers = upstream.asked[0].headers
    assert (headers["anthropic-version"], headers["anthropic-beta"], headers["x-team"]) == (
        "2023-01-01",
        "own,theirs",
        "a",
    )


async def test_a_server_with_openais_credential_is_asked_with_it() -> None:
    upstream = Upstream(Reply(TEXT))
    async with serving(upstream) as url:
        params = {"api_base": url + "/v1"}
        async with gateway(upstream, model="hosted_vllm/claude-5", params=params) as client:
            await client.sdk.messages.create(**ASKED)
    [asked] = upstream.asked
    assert asked.path == "/v1/messages"
    assert asked.headers["authorization"] == "Bearer sk-upstream"
    assert "x-api-key" not in asked.headers


async def test_either_header_shows_the_key_and_of_two_authorization_counts() -> None:
    keys = [{"id": "team", "secret": SECRET}, {"id": "other", "secret": "sk-other"}]
    async with gateway(Upstream(Reply(TEXT)), keys=keys) as client:
        answers = [
            await client.http.post("/v1/messages", json=ASKED, headers=headers)
            for headers in (
                {"x-api-key": SECRET},
                {"x-api-key": "sk-nobody", "authorization": f"Bearer {SECRET}"},
                {"x-api-key": SECRET, "authorization": "Bearer sk-other"},
                {"x-api-key": SECRET, "authorization": "Bearer sk-nobody"},
            )
        ]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 401]
    assert [record.key_id for record in client.records[:3]] == ["team", "team", "other"]


async def test_models_are_listed_as_the_sdk_reads_them_and_its_errors_too() -> None:
    async with gateway(Upstream(Reply(TEXT)), Upstream(Reply(TEXT))) as client:
        listed = [model.id async for model in client.sdk.models.list(limit=1)]
        one = await client.sdk.models.retrieve("claude-2")
        with pytest.raises(anthropic.NotFoundError) as missing:
            await client.sdk.models.retrieve("nobody")
        with pytest.raises(anthropic.NotFoundError) as unknown:
            await client.sdk.get("/v1/files", cast_to=httpx.Response)
        with pytest.raises(anthropic.AuthenticationError) as stranger:
            await client.sdk.with_options(api_key="sk-nobody").models.list()
        plain = await client.http.get("/v1/models")
    assert listed == ["claude", "claude-2"]
    assert (one.id, one.display_name, one.created_at.year) == ("claude-2", "claude-2", 2025)
    assert missing.value.error_code == "model_not_found"
    assert unknown.value.type == "not_found_error"
    assert stranger.value.error_code == "invalid_api_key"
    assert stranger.value.request_id
    assert plain.json()["object"] == "list"


REFUSED: list[tuple[Fields, type[anthropic.APIStatusError], str, str]] = [
    ({"keys": [{"id": "team", "secret": "sk-x"}]}, anthropic.AuthenticationError, "authentication_error",
     "invalid_api_key"),
    ({"keys": [{"id": "team", "secret": SECRET, "models": ["claude-2"]}]}, anthropic.NotFoundError, "not_found_error",
     "model_not_found"),
    ({"limits": {"per_key": {"tokens_per_minute": 2}}}, anthropic.RateLimitError, "rate_limit_error",
     "rate_limit_exceeded"),
    ({"limits": {"per_session": {"requests": 5}}}, anthropic.BadRequestError, "invalid_request_error",
     "missing_required_parameter"),
    ({"server": {"max_body_bytes": 20}}, anthropic.RequestTooLargeError, "request_too_large", "request_too_large"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "error", "kind", "code"), REFUSED)
async def test_each_refusal_of_ours_is_anthropics_with_our_code(
    words: Fields, error: type[anthropic.APIStatusError], kind: str, code: str
) -> None:
    upstream = Upstream(Reply(TEXT))
    async with gateway(upstream, **words) as client:
        with pytest.raises(error) as told:
            await client.sdk.messages.create(**ASKED)
    assert (told.value.type, told.value.error_code) == (kind, code)
    assert told.value.request_id == told.value.response.headers["x-request-id"]
    assert not upstream.asked


async def test_a_limit_is_waited_for_by_the_sdk() -> None:
    limits = {"per_key": {"requests_per_minute": 60, "burst": {"requests_per_minute": 1}}}
    async with gateway(Upstream(Reply(TEXT)), limits=limits) as client:
        patient = client.sdk.with_options(max_retries=3)
        for _ in range(2):
            await patient.messages.create(**ASKED)
    assert [record.status for record in client.records][:2] == [200, 429]
    assert client.records[-1].status == 200


async def test_a_spent_budget_is_not_tried_again_by_the_sdk() -> None:
    keys = [{"id": "team", "secret": SECRET, "budget": {"usd": 0.000001, "period": "month"}}]
    async with gateway(Upstream(Reply(TEXT)), keys=keys) as client:
        patient = client.sdk.with_options(max_retries=3)
        with pytest.raises(anthropic.RateLimitError) as told:
            for _ in range(2):
                await patient.messages.create(**ASKED)
    assert told.value.error_code == "insufficient_quota"
    assert len(client.records) <= 2


UPSTREAM_ERRORS: list[tuple[int, Fields, int, str, str | None, str]] = [
    (400, refusal("invalid_request_error", "max_tokens: Field required"), 400, "invalid_request_error", None,
     "max_tokens: Field required"),
    (400, refusal("invalid_request_error", "messages: roles", details={"error_code": "a_code"}), 400,
     "invalid_request_error", "a_code", "messages: roles"),
    (401, refusal("authentication_error", "invalid x-api-key"), 502, "api_error", "upstream_auth", "credentials"),
    (403, refusal("permission_error", "no"), 502, "api_error", "upstream_auth", "credentials"),
    (404, refusal("not_found_error", "model: claude-5"), 404, "not_found_error", None, "model: claude"),
    (413, refusal("request_too_large", "Request exceeds the maximum size"), 413, "request_too_large", None, "maximum"),
    (429, refusal("rate_limit_error", "of the gateway's"), 429, "rate_limit_error", "rate_limit_exceeded", ""),
    (429, refusal("rate_limit_error", "Spend", details={"error_code": "enforced_spend_limit_reached"}), 502,
     "api_error", "upstream_quota", "out of credit"),
    (400, refusal("invalid_request_error", "You have reached your specified API usage limits. You will regain"), 502,
     "api_error", "upstream_quota", "out of credit"),
    (400, refusal("invalid_request_error", "Your credit balance is too low"), 502, "api_error", "upstream_quota", ""),
    (500, refusal("api_error", "Internal at 10.0.0.5"), 500, "api_error", "upstream_error", "failed to answer"),
    (529, refusal("overloaded_error", "Overloaded"), 529, "overloaded_error", "upstream_error", "failed to answer"),
    (400, {"error": {"message": "bad at https://10.0.0.5/v1 with sk-upstream", "type": "invalid_request_error",
                     "param": "messages[0].role", "code": "invalid_value"}}, 400, "invalid_request_error",
     "invalid_value", "bad at"),
    (400, {"object": "error", "message": "context too short", "type": "BadRequestError", "code": 400}, 400,
     "invalid_request_error", None, "context too short"),
    (422, {"detail": [{"loc": ["body", "max_tokens"], "msg": "Field required"}]}, 422, "invalid_request_error", None,
     "max_tokens: Field required"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body", "seen", "kind", "code", "words"), UPSTREAM_ERRORS)
async def test_an_upstreams_refusal_is_anthropics_for_messages_and_openais_for_chat(
    status: int, body: Fields, seen: int, kind: str, code: str | None, words: str
) -> None:
    async with gateway(Upstream(Reply(body, status))) as client:
        told = await client.http.post("/v1/messages", json=ASKED)
        chat = await client.http.post("/v1/chat/completions", json=ASKED)
    answer = told.json()
    assert told.status_code == chat.status_code == seen
    assert (answer["type"], answer["error"]["type"]) == ("error", kind)
    assert answer["request_id"] == told.headers["request-id"] == told.headers["x-request-id"]
    if code is None:
        assert "error_code" not in answer["error"].get("details", {})
    else:
        assert answer["error"]["details"]["error_code"] == code
    assert words in answer["error"]["message"]
    assert {*chat.json()["error"]} == {"message", "type", "param", "code"}
    assert chat.json()["error"]["message"] == answer["error"]["message"]
    assert chat.json()["error"]["code"] == code
    for secret in ("10.0.0.5", "sk-upstream", "req_upstream", "claude-5"):
        assert secret not in told.text + chat.text


OVERLOADED = sse({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})


async def test_an_error_before_the_first_token_is_a_status_and_behind_it_an_event() -> None:
    early = sse(started(), PING) + OVERLOADED
    late = sse(started(), text("Blue")) + OVERLOADED
    async with gateway(Upstream(Reply(early), Reply(late))) as client:
        with pytest.raises(anthropic.APIStatusError) as told:
            await client.sdk.messages.create(**ASKED, stream=True)
        pieces, broken = [], None
        stream = await client.sdk.messages.create(**ASKED, stream=True)
        try:
            async for event in stream:
                pieces.append(event.type)
        except anthropic.APIStatusError as error:
            broken = error
    assert (told.value.status_code, told.value.type) == (529, "overloaded_error")
    assert pieces == ["message_start", "content_block_delta"]
    assert broken is not None
    assert (broken.type, broken.error_code) == ("overloaded_error", "upstream_error")
    early_record, late_record = client.records
    assert early_record.status == 529
    assert late_record.error_type == "upstream_5xx"
    assert late_record.usage.cached_input_tokens == 5000


async def test_529_is_tried_again_by_the_sdk_and_by_the_gateway() -> None:
    overloaded = Reply(refusal("overloaded_error", "Overloaded"), 529)
    async with gateway(Upstream(overloaded, Reply(TEXT))) as client:
        message = await client.sdk.with_options(max_retries=2).messages.create(**ASKED)
    assert message.stop_reason == "end_turn"
    assert [record.status for record in client.records] == [529, 200]


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("prompt is too long: 210000 tokens > 200000 maximum", "context_window_fallbacks"),
        ("Output blocked by content filtering policy", "content_policy_fallbacks"),
    ],
)
async def test_what_a_model_may_not_or_cannot_answer_another_does(words: str, kind: str) -> None:
    first = Upstream(Reply(refusal("invalid_request_error", words), 400))
    second = Upstream(Reply(SPOKEN))
    async with gateway(first, second, **{kind: [{"claude": ["claude-2"]}]}) as client:
        async with client.sdk.messages.stream(**ASKED) as stream:
            message = await stream.get_final_message()
    assert message.stop_reason == "end_turn"
    assert len(first.asked) == len(second.asked) == 1
    assert client.records[0].attempts == 2


DEVIATIONS = {
    "[DONE] behind the end": SPOKEN + b"data: [DONE]\n\n",
    "events without names": spoken({"input_tokens": 25, "output_tokens": 1}, {"output_tokens": 4}, named=False),
    "no usage at the start": spoken(None, {"input_tokens": 25, "output_tokens": 4}),
    "no end": SPOKEN.removesuffix(sse(STOP)),
    "[DONE] in the place of the end": SPOKEN.removesuffix(sse(STOP)) + b"data: [DONE]\n\n",
    "a heartbeat": SPOKEN.replace(sse(PING), b"data: {}\n\n: still there\n\n"),
    "a document": json.dumps(TEXT).encode(),
}


@pytest.mark.parametrize("name", DEVIATIONS)
async def test_what_other_servers_make_of_the_protocol_is_read_by_the_sdk(name: str) -> None:
    async with gateway(Upstream(Reply(DEVIATIONS[name]))) as client:
        events = list[str]()
        async with client.sdk.messages.stream(**ASKED) as stream:
            async for event in stream:
                events.append(event.type)
            message = await stream.get_final_message()
    assert events[-1] == "message_stop"
    assert [block.text for block in message.content if block.type == "text"] == ["Blue."]
    [record] = client.records
    assert record.outcome == "ok"
    assert record.usage_source == "provider"
    assert (record.usage.input_tokens, record.usage.output_tokens) == (25, 4)


async def test_a_stream_where_a_message_was_asked_for_becomes_one() -> None:
    async with gateway(Upstream(Reply(WITH_TOOLS))) as client:
        message = await client.http.post("/v1/messages", json=ASKED)
    assert message.json() == {**WHOLE, "model": "claude"}
    assert client.records[0].usage == COUNTS


@pytest.mark.parametrize("body", [b'{"choices": []}', b"{}", b'{"type":"message","content":null}', b"<html>"])
async def test_what_is_no_message_is_a_malformed_answer(body: bytes) -> None:
    async with gateway(Upstream(Reply(body))) as client:
        answer = await client.http.post("/v1/messages", json=ASKED)
    assert answer.status_code == 502
    assert answer.json()["error"]["details"] == {"error_code": "upstream_malformed"}


async def test_a_refusal_beside_a_200_is_a_refusal() -> None:
    async with gateway(Upstream(Reply(refusal("overloaded_error", "Overloaded")))) as client:
        answer = await client.http.post("/v1/messages", json=ASKED)
    assert answer.status_code == 529
    assert answer.json()["error"]["type"] == "overloaded_error"


async def test_usage_is_joined_over_the_events_of_one_stream_alone() -> None:
    second = spoken(None, {"output_tokens": 4})
    async with gateway(Upstream(Reply(spoken(START, END)), Reply(second))) as client:
        for _ in range(2):
            await client.http.post("/v1/messages", json={**ASKED, "stream": True})
    assert client.records[0].usage == COUNTS
    assert client.records[1].usage.cached_input_tokens == 0


async def test_a_provider_that_speaks_messages_is_asked_in_them_and_by_litellm_for_chat() -> None:
    upstream = Upstream(Reply(WHOLE))
    async with serving(upstream) as url:
        model = {"model": "anthropic/claude-5", "api_base": url, "api_key": "sk-upstream"}
        app = Gateway(
            model_list=[{"model_name": "claude", "litellm_params": model}], keys=[{"id": "t", "secret": SECRET}]
        )
        async with serving(app) as gateway_url, httpx.AsyncClient(base_url=gateway_url, timeout=60) as client:
            await app.loaded()
            headers = {"x-api-key": SECRET}
            messages = await client.post("/v1/messages", json=ASKED, headers=headers)
            chat = await client.post("/v1/chat/completions", json=ASKED, headers=headers)
    assert messages.json() == {**WHOLE, "model": "claude"}
    assert chat.json()["choices"][0]["message"]["tool_calls"]
    assert [asked.headers["anthropic-version"] for asked in upstream.asked] == ["2023-06-01"] * 2


async def test_a_client_is_told_the_sum_of_what_two_attempts_have_used() -> None:
    begun = sse(started(START), PING) + OVERLOADED
    first, second = Upstream(Reply(begun)), Upstream(Reply(SPOKEN))
    async with gateway(first, second, fallbacks=[{"claude": ["claude-2"]}]) as client:
        async with client.sdk.messages.stream(**ASKED) as stream:
            message = await stream.get_final_message()
    [record] = client.records
    assert (record.usage.input_tokens, record.usage.output_tokens) == (8025 + 25, 1 + 4)
    assert message.usage.cache_read_input_tokens == record.usage.cached_input_tokens == 5000
    assert message.usage.cache_creation_input_tokens == 3000
    assert message.usage.input_tokens == 50
    assert message.usage.output_tokens == record.usage.output_tokens


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        ("beta=true", "beta=true"), ("", ""), ("beta=false", ""), ("beta=true&beta=true&api-version=2&key=x", "beta=true"),
        ("%62eta=true", ""), ("beta=true%26x=1", ""), ("beta=true/../x", ""), ("x=1&" * 40 + "beta=true", ""),
    ],
)  # fmt: skip
async def test_of_a_query_the_upstream_sees_what_claude_code_writes_and_nothing_else(sent: str, seen: str) -> None:
    upstream = Upstream(Reply(WHOLE))
    async with gateway(upstream) as client:
        answer = await client.http.post(f"/v1/messages?{sent}", json=ASKED)
        assert answer.status_code == 200
        assert (upstream.asked[0].path, upstream.asked[0].query) == ("/v1/messages", seen)


LISTED = {
    "claude-5": {"litellm_provider": "anthropic", "input_cost_per_token": 1e-6, "output_cost_per_token": 5e-6},
    "claude-wise": {"litellm_provider": "anthropic", "input_cost_per_token": 1e-4, "output_cost_per_token": 5e-4},
}
"""The wise one is a hundred times as dear."""


def advised(kind: str, model: str | None, **counts: int) -> Fields:
    return {"type": kind, "model": model, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0, **counts}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("iterations", "counts", "micro_usd"),
    [
        ([advised("advisor_message", "claude-wise", input_tokens=30, output_tokens=3)], (130, 13), 150 + 3000 + 1500),
        ([advised("advisor_message", "claude-unknown", input_tokens=30, output_tokens=3)], (130, 13), 195),
        ([advised("advisor_message", "claude-5-20260101", input_tokens=30, output_tokens=3)], (130, 13), 195),
        ([advised("message", "claude-5", input_tokens=60, output_tokens=4),
          advised("fallback_message", "claude-wise", input_tokens=40, output_tokens=6)], (100, 10), 60 + 20 + 4000 + 3000),
        ([advised("fallback_message", "claude-wise", input_tokens=100, output_tokens=10)], (100, 10), 15_000),
        ([advised("fallback_message", "claude-wise", input_tokens=900, output_tokens=900)], (100, 10), 15_000),
        ([advised("message", None, input_tokens=100, output_tokens=10)], (100, 10), 150),
    ],
    ids=["advisor", "of unknown price", "itself", "after a refusal", "at once", "more than in all", "without names"],
)  # fmt: skip
async def test_what_another_model_did_for_an_answer_costs_what_that_model_costs(
    tmp_path: Path, iterations: list[Fields], counts: tuple[int, int], micro_usd: int, streamed: bool
) -> None:
    (tmp_path / "prices.json").write_text(json.dumps(LISTED))
    usage = {"input_tokens": 100, "output_tokens": 10, "iterations": iterations}
    body = spoken({"input_tokens": 100, "output_tokens": 1}, usage) if streamed else {**TEXT, "usage": usage}
    upstream = Upstream(Reply(body))
    async with gateway(upstream, listed_prices=True, prices={"file": str(tmp_path / "prices.json")}) as client:
        answer = await client.http.post("/v1/messages", json={**ASKED, "stream": streamed})
    assert answer.status_code == 200
    (record,) = client.records
    assert (record.usage.input_tokens, record.usage.output_tokens) == counts
    assert record.cost_micro_usd == micro_usd
