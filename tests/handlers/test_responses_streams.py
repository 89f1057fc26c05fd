"""Streams of Responses through a gateway of the direct handler, over real sockets: each to its token and micro-USD, cut
behind each of its events, with errors inside."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from crplugins.core.exchange import Exchange
from crplugins.core.plugin import Plugin
from crplugins.core.said import Said
from crplugins.core.usage import TokenUsage
from crplugins.homes.gateway.app import Gateway
from crplugins.metering.record import UsageRecord, record_of
from tests.conftest import serving
from tests.core.dialects.responses_streams import SHAPES, USED, WORDS, Wire, frames, response, whole_stream
from tests.core.dialects.test_responses import USAGE, Heard
from tests.long import LONG

SECRET = "sk-test-of-responses"
PRICES = {
    "input_cost_per_token": 0.000002,
    "output_cost_per_token": 0.000010,
    "cache_read_input_token_cost": 0.000001,
    "search_context_cost_per_query": {"search_context_size_medium": 0.010, "search_context_size_high": 0.025},
}


def cost(usage: TokenUsage, search: int = 10_000) -> int:
    """In millionths of a US dollar."""
    input_tokens = usage.input_tokens - usage.cached_input_tokens
    return 2 * input_tokens + usage.cached_input_tokens + 10 * usage.output_tokens + search * usage.web_searches


class Records(Plugin):
    reads_usage = True

    def __init__(self) -> None:
        self.made: list[UsageRecord] = []

    def on_finish(self, exchange: Exchange) -> None:
        self.made.append(record_of(exchange))


class Scripted:
    """An upstream that sends what the test has put on its list."""

    def __init__(self) -> None:
        self.status, self.body, self.kind = 200, b"", b"text/event-stream"
        self.breaks = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        while (await receive()).get("more_body"):
            pass
        headers = [(b"content-type", self.kind)]
        if self.breaks:
            headers.append((b"content-length", str(len(self.body) + 10).encode()))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": self.breaks})
        if self.breaks:
            raise RuntimeError("the connection breaks")


class Setup:
    def __init__(self, client: httpx.AsyncClient, upstream: Scripted, records: list[UsageRecord]) -> None:
        self.client, self.upstream, self.records = client, upstream, records

    async def ask(self, body: bytes, *, stream: bool = True, **more: Any) -> tuple[httpx.Response, UsageRecord]:
        """The answer and the record of it."""
        self.upstream.body = body
        self.upstream.kind = b"text/event-stream" if body.startswith(b"event") else b"application/json"
        asked = {"model": "fast", "input": "Hello", "stream": stream, **more}
        answer = await self.client.post("/v1/responses", json=asked)
        [record] = self.records
        self.records.clear()
        return answer, record


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def setup() -> AsyncIterator[Setup]:
    upstream, records = Scripted(), Records()
    async with serving(upstream) as url:
        params = {"model": "openai/m", "api_base": url + "/v1", "api_key": "sk-upstream", "num_retries": 0}
        app = Gateway(
            model_list=[{"model_name": "served", "litellm_params": params, "model_info": PRICES}],
            keys=[{"id": "team", "secret": SECRET}],
            aliases={"fast": "served"},
            router_settings={"disable_cooldowns": True},
            plugins=[{"use": records, "before": "Auth"}],
        )
        headers = {"authorization": f"Bearer {SECRET}"}
        async with serving(app) as own, httpx.AsyncClient(base_url=own, timeout=60, headers=headers) as client:
            yield Setup(client, upstream, records.made)


pytestmark = pytest.mark.asyncio(loop_scope="module")


def events_in(body: bytes) -> list[Wire]:
    return [json.loads(event.data or b"") for event in Heard(body).events]


def with_own_id(event: Wire) -> Wire:
    """The event or the response as its provider sent it, but for the model's name: the client has another id."""
    told = event.get("response", event)
    if "object" in told:
        assert told["id"].startswith("resp_")
        assert told["id"] != "resp_1"
    mine = told | {"id": "resp_1"}
    return event | {"response": mine} if "response" in event else mine if "object" in told else event


def renamed(event: Wire) -> Wire:
    """As the client sees it."""
    return event | {"response": event["response"] | {"model": "fast"}} if "response" in event else event


@pytest.mark.parametrize("name", SHAPES)
async def test_a_whole_stream_is_metered_exactly_and_passes_event_by_event(name: str, setup: Setup) -> None:
    shape = SHAPES[name]
    sent = whole_stream(shape)
    answer, record = await setup.ask(frames(sent) + b"data: [DONE]\n\n")
    assert answer.status_code == 200
    assert [with_own_id(event) for event in events_in(answer.content)] == [renamed(event) for event in sent]
    assert b"[DONE]" not in answer.content
    usage = TokenUsage(70, 50, cached_input_tokens=16, reasoning_output_tokens=20, web_searches=shape.searches)
    assert (record.usage, record.usage_source, record.outcome) == (usage, "provider", "ok")
    assert record.cost_micro_usd == cost(usage)
    assert (record.finish_reason, record.service_tier, record.provider_model) == (shape.reason, "default", "m")


@pytest.mark.parametrize("name", SHAPES)
async def test_a_whole_answer_is_metered_exactly(name: str, setup: Setup) -> None:
    shape = SHAPES[name]
    answer, record = await setup.ask(json.dumps(response(shape.output)).encode(), stream=False)
    assert with_own_id(answer.json()) == response(shape.output) | {"model": "fast"}
    usage = TokenUsage(70, 50, cached_input_tokens=16, reasoning_output_tokens=20, web_searches=shape.searches)
    assert (record.usage, record.usage_source, record.outcome) == (usage, "provider", "ok")
    assert record.cost_micro_usd == cost(usage)


@pytest.mark.parametrize("breaks", [False, True])
@pytest.mark.parametrize("name", SHAPES if LONG else ["text", "function call", "mcp call", "web search"])
async def test_a_stream_cut_behind_any_event_is_told_as_broken_and_what_was_said_is_paid(
    name: str, breaks: bool, setup: Setup
) -> None:
    sent = whole_stream(SHAPES[name])
    setup.upstream.breaks = breaks
    try:
        for length in range(1, len(sent)):
            answer, record = await setup.ask(frames(sent[:length]))
            heard = Heard(frames(sent[:length]))
            spoke = any(event.answer is not None and event.answer.says() for event in heard.events)
            assert record.error_type == "upstream_stream_broken"
            if not spoke:  # nothing is promised: a status
                assert answer.status_code == 502
                assert answer.json()["error"]["code"] == "upstream_incomplete"
                assert record.cost_micro_usd == 0
                continue
            *passed, last = events_in(answer.content)
            assert [with_own_id(event) for event in passed] == [renamed(event) for event in sent[:length]]
            assert (last["type"], last["sequence_number"]) == ("error", length)
            assert last["error"]["code"] == last["code"] == "upstream_incomplete"
            assert record.usage_source == ("estimated" if heard.said else "none")
            assert record.usage.output_tokens == heard.said.tokens()
            assert record.usage.web_searches == heard.searches
            assert record.cost_micro_usd == cost(record.usage)
    finally:
        setup.upstream.breaks = False


@pytest.mark.parametrize(
    "failure",
    [
        {"type": "error", "code": "server_error", "message": "It is sk-upstream.", "param": None},
        {"type": "error", "error": {"type": "server_error", "code": None, "message": "Gone."}},
        {"type": "response.failed", "response": response([], "failed", error={"code": "server_error", "message": "x"})},
    ],
)
async def test_an_error_inside_is_a_status_before_the_first_word_and_one_event_behind_it(
    failure: Wire, setup: Setup
) -> None:
    sent = whole_stream(SHAPES["text"])
    answer, record = await setup.ask(frames([*sent[:2], failure]))
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_error")
    billed = USAGE if "response" in failure else TokenUsage()
    assert (record.usage, record.cost_micro_usd) == (billed, cost(billed))
    answer, record = await setup.ask(frames([*sent[:5], failure | {"sequence_number": 5}]))
    *passed, last = events_in(answer.content)
    assert [with_own_id(event) for event in passed] == [renamed(event) for event in sent[:5]]
    assert (last["type"], last["sequence_number"], last["error"]["code"]) == ("error", 5, "upstream_error")
    assert b"sk-upstream" not in answer.content
    assert record.error_type == "upstream_5xx"
    if "response" in failure:
        assert (record.usage, record.usage_source) == (USAGE, "provider")
    else:
        assert record.usage.output_tokens == Heard(frames(sent[:5])).said.tokens()


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("server_error", 502),
        ("rate_limit_exceeded", 429),
        ("context_length_exceeded", 400),
        ("invalid_image", 400),
        ("server_is_overloaded", 503),
        ("slow_down", 503),
    ],
)
async def test_a_response_that_has_failed_is_the_status_that_it_means(code: str, status: int, setup: Setup) -> None:
    failed = response([], "failed", error={"code": code, "message": "It cannot be done."})
    for stream in (False, True):
        body = json.dumps(failed).encode()
        if stream:
            body = frames([{"type": "response.created", "response": response([], "in_progress")},
                           {"type": "response.failed", "response": failed}])  # fmt: skip
        answer, record = await setup.ask(body, stream=stream)
        assert answer.status_code == status
        if status < 500:
            assert answer.json()["error"]["code"] == code
        assert record.usage == USAGE  # what a provider bills of an answer that failed


async def test_each_form_is_given_where_the_upstream_sends_the_other(setup: Setup) -> None:
    shape = SHAPES["web search"]
    answer, record = await setup.ask(json.dumps(response(shape.output)).encode(), stream=True)
    heard = Heard(answer.content)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert heard.state.complete
    assert heard.said.units > 3 * len(WORDS)
    assert record.cost_micro_usd == cost(record.usage) == cost(USAGE) + 20_000
    answer, record = await setup.ask(frames(whole_stream(shape)), stream=False)
    assert with_own_id(answer.json()) == response(shape.output) | {"model": "fast"}
    assert record.cost_micro_usd == cost(USAGE) + 20_000


async def test_the_fee_of_a_search_is_that_of_its_context(setup: Setup) -> None:
    shape = SHAPES["web search"]
    tools = [{"type": "web_search", "search_context_size": "high"}]
    _, record = await setup.ask(json.dumps(response(shape.output, tools=tools)).encode(), stream=False)
    assert record.cost_micro_usd == cost(USAGE) + 50_000


async def test_a_refusal_is_openais(setup: Setup) -> None:
    setup.upstream.status = 400
    error = {"message": "Unknown.", "type": "invalid_request_error", "param": "input[0]", "code": "invalid_value"}
    try:
        answer, record = await setup.ask(json.dumps({"error": error}).encode())
    finally:
        setup.upstream.status = 200
    assert (answer.status_code, answer.json()) == (400, {"error": error})
    assert record.usage == TokenUsage()


async def test_usage_that_never_comes_is_estimated(setup: Setup) -> None:
    whole = response(SHAPES["text"].output, usage=None)
    answer, record = await setup.ask(
        frames(whole_stream(SHAPES["text"], {"type": "response.completed", "response": whole}))
    )
    assert answer.status_code == 200
    said = Said(units=3 * len(WORDS), pieces=1)
    assert (record.usage_source, record.usage.output_tokens) == ("estimated", said.tokens())
    assert 0 < record.usage.input_tokens < USED["input_tokens"]
