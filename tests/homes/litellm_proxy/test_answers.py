"""Who answered in LiteLLM's real proxy: its cache, a fallback, another deployment; in the hooks and inside our entry."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from crplugins.testing import FakeProvider, Script
from tests.homes.anthropic_stream import ENDS, INPUT, OUTPUT, counted_at_the_start
from tests.homes.told_bills import BILLS, COUNTS, PRICES, Told, failed_after_counting, google, without_choices, wrong
from tests.proxy_provider import EveryEndpoint
from tests.proxy_setup import CALLBACK, ENTRY, Proxy, needs_proxy, running_proxy

pytestmark = [pytest.mark.slow, needs_proxy]

RETRIES = 15
"""So many that chance does not choose, each time, the deployment of `pair` that is down: it has a third of the weight."""

KEY, POOR = "sk-team-a-000001", "sk-poor-00000005"
OURS: dict[str, Any] = {
    "keys": [
        {"id": "team-a", "secret": KEY, "limits": {"requests_per_day": 1000, "tokens_per_day": 1_000_000}},
        {"id": "poor", "secret": POOR, "budget": {"usd": 0.1, "period": "day"}},
    ],
    "metrics": {"path": "/crplugins/metrics", "token": None},
}
SERVED: dict[str, Any] = {
    "down": {"model": "openai/m-down"},
    "dear": {"model": "hosted_vllm/m-dear", "input_cost_per_token": 1e-3, "output_cost_per_token": 3e-3},
    "claude": {"model": "anthropic/m-claude"},
    "openai/m-told": {"model": "openai/m-told", **PRICES},
    "gemini/m-google": {"model": "gemini/m-google", **PRICES},
    "pair": [
        {"model": "openai/m-down", "weight": 1},
        {"model": "openai/m-spare", "weight": 2, "input_cost_per_token": 4e-5, "output_cost_per_token": 5e-5},
    ],
}


@pytest.fixture(scope="module", params=["callback", "entry"])
def proxy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    app = CALLBACK if request.param == "callback" else ENTRY
    folder = tmp_path_factory.mktemp(request.param)
    with running_proxy(
        folder, app, ours=OURS, served=SERVED, cache=True, fallbacks={"down": ["dear"]}, retries=RETRIES
    ) as running:
        yield running


@pytest.fixture
async def provider(proxy: Proxy) -> AsyncIterator[FakeProvider]:
    async with EveryEndpoint(port=proxy.provider_port) as running:
        running.script("m-down", Script.error(500, "out of order", "server_error"))
        yield running


async def ask(proxy: Proxy, model: str, text: str, *, key: str = KEY, **more: Any) -> tuple[httpx.Response, Any]:
    """The whole answer, and the record of the request."""
    path = "/v1/completions" if "prompt" in more else "/v1/chat/completions"
    said = {} if "prompt" in more else {"messages": [{"role": "user", "content": text}]}
    async with httpx.AsyncClient(timeout=60) as client:
        answer = await client.post(
            proxy.url + path, json={"model": model, **said, **more}, headers={"authorization": f"Bearer {key}"}
        )
    assert answer.status_code == 200, answer.text
    return answer, await proxy.record(answer.headers["x-request-id"])


def tokens(record: Any) -> tuple[int, int]:
    return record["usage"]["input_tokens"], record["usage"]["output_tokens"]


async def counted(proxy: Proxy) -> Counter[str]:
    async with httpx.AsyncClient(follow_redirects=True) as client:
        text = (await client.get(f"{proxy.url}/crplugins/metrics")).text
    totals: Counter[str] = Counter()
    for line in text.splitlines():
        if line.startswith("crplugins_") and "_bucket" not in line:
            name, _, value = line.rpartition(" ")
            totals[name.partition("{")[0].removeprefix("crplugins_")] += float(value)  # type: ignore[assignment]
    return totals


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["dear", "down"])
async def test_an_answer_from_litellms_cache_costs_nothing(
    proxy: Proxy, provider: FakeProvider, stream: bool, model: str
) -> None:
    before, text = await counted(proxy), f"Is it cached? {model} {stream}"
    _, paid = await ask(proxy, model, text, stream=stream)
    told = provider.last_request.usage
    assert told is not None
    calls = [request for request in provider.requests if request.model == "m-dear"]
    cached = [(await ask(proxy, model, text, stream=stream))[1] for _ in range(2)]
    assert [request for request in provider.requests if request.model == "m-dear"] == calls
    assert (paid["usage_source"], tokens(paid)) == ("provider", told)
    assert paid["cost_micro_usd"] == 1000 * told[0] + 3000 * told[1]
    for record in cached:
        assert (record["usage_source"], record["cost_micro_usd"], tokens(record)) == ("cache", 0, told)
        assert (record["outcome"], record["served_model"]) == ("ok", "m-dear")
        assert record["attempts"] == (0 if model == "dear" else len(paid_attempts(paid)) - 1)
    after = await counted(proxy)
    assert after["input_tokens_total"] - before["input_tokens_total"] == told[0]
    assert round((after["cost_usd_total"] - before["cost_usd_total"]) * 1e6) == paid["cost_micro_usd"]
    assert after["cache_answers_total"] - before["cache_answers_total"] == 2
    assert after["cache_answer_input_tokens_total"] - before["cache_answer_input_tokens_total"] == 2 * told[0]


def paid_attempts(record: Any) -> range:
    return range(record["attempts"])


async def test_a_cached_answer_is_a_request_to_limits_and_no_tokens(proxy: Proxy, provider: FakeProvider) -> None:
    provider.script("m-dear", Script(text="word " * 2000))
    first, paid = await ask(proxy, "dear", "A long answer, please.")
    answers = [(await ask(proxy, "dear", "A long answer, please."))[0] for _ in range(3)]
    assert provider.received == 1
    assert tokens(paid)[1] > 1000
    requests = [int(answer.headers["x-ratelimit-remaining-requests"]) for answer in (first, *answers)]
    assert requests == list(range(requests[0], requests[0] - 4, -1))
    left = [int(answer.headers["x-ratelimit-remaining-tokens"]) for answer in answers]
    assert left[-1] >= left[0]


async def test_a_cached_answer_spends_no_budget(proxy: Proxy, provider: FakeProvider) -> None:
    text = "Spend it."
    _, paid = await ask(proxy, "dear", text, key=POOR, max_tokens=5)
    assert 0 < paid["cost_micro_usd"] < 0.05e6  # what is reserved for a second one still fits
    for _ in range(100_000 // paid["cost_micro_usd"] + 1):
        _, record = await ask(proxy, "dear", text, key=POOR, max_tokens=5)
        assert record["cost_micro_usd"] == 0
    assert provider.received == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_a_fallback_to_another_group_is_recorded_and_priced_as_what_served_it(
    proxy: Proxy, provider: FakeProvider, stream: bool
) -> None:
    _, record = await ask(proxy, "down", f"Who answers? {stream}", stream=stream)
    told = provider.last_request.usage
    assert told is not None
    assert (record["requested_model"], record["served_model"], record["provider"]) == ("down", "m-dear", "hosted_vllm")
    assert (record["outcome"], record["usage_source"], tokens(record)) == ("ok", "provider", told)
    assert record["cost_micro_usd"] == 1000 * told[0] + 3000 * told[1]
    assert record["attempts"] == provider.received > 1


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
async def test_the_input_that_a_stream_counts_at_its_start_holds(
    proxy: Proxy, provider: FakeProvider, end: dict[str, Any]
) -> None:
    provider.script("m-claude", counted_at_the_start(end))
    options = {"stream": True, "stream_options": {"include_usage": True}}
    answer, record = await ask(proxy, "claude", f"Count {end}", **options)
    assert (record["usage"]["cached_input_tokens"], tokens(record)) == (7, (INPUT, OUTPUT))
    assert record["usage_source"] == "provider"
    shown = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")][-1]["usage"]
    counts = shown["prompt_tokens"], shown["completion_tokens"], shown["total_tokens"]
    assert counts == (INPUT, OUTPUT, INPUT + OUTPUT)


async def test_a_stream_that_is_not_asked_for_its_counts_has_them_where_the_provider_tells_them(
    proxy: Proxy, provider: FakeProvider
) -> None:
    provider.script("m-claude", counted_at_the_start({"output_tokens": OUTPUT}))
    answer, record = await ask(proxy, "claude", "Count unasked", stream=True)
    assert (record["usage"]["cached_input_tokens"], tokens(record)) == (7, (INPUT, OUTPUT))
    assert record["usage_source"] == "provider"
    assert '"usage"' not in answer.text


@pytest.mark.parametrize("told", BILLS.values(), ids=BILLS)
async def test_what_a_provider_tells_of_its_bill_is_recorded_of_a_stream(
    proxy: Proxy, provider: FakeProvider, told: Told, request: pytest.FixtureRequest
) -> None:
    provider.script(told.model.partition("/")[2], told.script)
    options = {"stream": True, "stream_options": {"include_usage": True}}
    _, record = await ask(proxy, told.model, f"Bill {request.node.name}", **options)
    assert wrong(told, record) == {}


async def test_the_traffic_of_a_whole_answer_of_googles_is_its_tier(proxy: Proxy, provider: FakeProvider) -> None:
    provider.script("m-google", Script(body=google("ON_DEMAND_FLEX")))
    _, record = await ask(proxy, "gemini/m-google", "Traffic")
    assert (record["service_tier"], record["cost_micro_usd"]) == ("ON_DEMAND_FLEX", 285)
    assert record["provider_model"] == "gemini-9-001"


async def test_counts_inside_the_choice_of_a_whole_answer_are_the_providers(
    proxy: Proxy, provider: FakeProvider
) -> None:
    counts = {"prompt_tokens": 30, "completion_tokens": 7, "total_tokens": 37}
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}
    head = {"id": "c-1", "object": "chat.completion", "created": 1, "model": "m-told"}
    provider.script("m-told", Script(body={**head, "choices": [{**choice, "usage": counts}]}))
    _, record = await ask(proxy, "openai/m-told", "Inside")
    assert (tokens(record), record["usage_source"]) == ((30, 7), "provider")


async def test_each_of_several_answers_has_an_end(proxy: Proxy, provider: FakeProvider) -> None:
    """LiteLLM tells one for all of them."""
    words = [(index, {"content": word}, None) for word in ("Hello", " there") for index in (0, 1)]
    ends = [(index, {}, "stop") for index in (0, 1)]
    head = {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "m-told"}
    chunks = [
        {**head, "choices": [{"index": index, "delta": delta, "finish_reason": finish}]}
        for index, delta, finish in (*words, *ends)
    ]
    events = [json.dumps(chunk) for chunk in (*chunks, {**head, "choices": [], "usage": COUNTS})]
    provider.script("m-told", Script(events=[f"data: {event}\n\n".encode() for event in (*events, "[DONE]")]))
    answer, record = await ask(proxy, "openai/m-told", "Twice", stream=True, n=2)
    assert (record["outcome"], tokens(record)) == ("ok", (30, 9))
    shown = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    told = [(choice["index"], choice.get("finish_reason")) for chunk in shown for choice in chunk.get("choices", ())]
    assert [index for index, finish in told if finish == "stop"] == [0, 1]
    assert not any("error" in chunk for chunk in shown)


async def ask_messages(proxy: Proxy, text: str, **more: Any) -> Any:
    """The record of a request in Anthropic's protocol."""
    body = {"model": "claude", "max_tokens": 50, "messages": [{"role": "user", "content": text}], **more}
    async with httpx.AsyncClient(timeout=60) as client:
        answer = await client.post(f"{proxy.url}/v1/messages", json=body, headers={"authorization": f"Bearer {KEY}"})
    assert answer.status_code == 200, answer.text
    return await proxy.record(answer.headers["x-request-id"])


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
async def test_the_input_that_a_stream_counts_at_its_start_holds_in_its_own_protocol(
    proxy: Proxy, provider: FakeProvider, end: dict[str, Any]
) -> None:
    provider.script("m-claude", counted_at_the_start({**end, "service_tier": "priority"}))
    record = await ask_messages(proxy, f"Count {end}", stream=True)
    assert (record["usage"]["cached_input_tokens"], tokens(record)) == (7, (INPUT, OUTPUT))
    assert (record["usage_source"], record["finish_reason"]) == ("provider", "stop")
    assert (record["service_tier"], record["provider_model"]) == ("priority", "m-claude")


async def test_an_answer_in_another_protocol_tells_its_tier(proxy: Proxy, provider: FakeProvider) -> None:
    said = [{"type": "text", "text": "Hello"}]
    usage = {"input_tokens": 25, "output_tokens": 9, "service_tier": "priority"}
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m-claude-9", "stop_sequence": None}
    provider.script("m-claude", Script(body={**head, "content": said, "stop_reason": "refusal", "usage": usage}))
    record = await ask_messages(proxy, "Which tier?")
    assert (tokens(record), record["service_tier"], record["provider_model"]) == ((25, 9), "priority", "m-claude-9")
    assert record["finish_reason"] == "content_filter"


async def test_an_error_inside_a_stream_of_another_protocol_is_recorded(proxy: Proxy, provider: FakeProvider) -> None:
    provider.script("m-claude", failed_after_counting())
    record = await ask_messages(proxy, "Fail", stream=True)
    assert (record["outcome"], record["error_type"]) == ("server_error", "upstream_stream_broken")
    assert (record["usage"]["input_tokens"], record["usage"]["cached_input_tokens"]) == (INPUT, 7)


async def test_a_success_without_a_choice_is_recorded_as_broken(proxy: Proxy, provider: FakeProvider) -> None:
    provider.script("m-told", without_choices())
    _, record = await ask(proxy, "openai/m-told", "Nothing")
    assert (record["outcome"], record["error_type"]) == ("server_error", "upstream_stream_broken")
    assert (record["usage_source"], record["cost_micro_usd"]) == ("none", 0)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_retry_on_another_deployment_is_priced_as_that_one(
    proxy: Proxy, provider: FakeProvider, stream: bool
) -> None:
    for number in range(4):
        _, record = await ask(proxy, "pair", f"Which of the two? {stream} {number}", stream=stream)
        told = provider.last_request.usage
        assert told is not None
        assert (record["served_model"], record["provider"]) == ("m-spare", "openai")
        assert record["cost_micro_usd"] == 40 * told[0] + 50 * told[1]


@pytest.mark.parametrize("stream", [False, True])
async def test_other_apis_are_priced_as_what_served_them_and_from_the_cache_cost_nothing(
    proxy: Proxy, provider: FakeProvider, stream: bool
) -> None:
    prompt = f"Complete this {stream}"
    model = "dear" if stream else "down"  # streams of this API LiteLLM does not let fall back
    _, paid = await ask(proxy, model, "", prompt=prompt, stream=stream)
    told = provider.last_request.usage
    assert told is not None
    assert (paid["served_model"], paid["usage_source"], tokens(paid)) == ("m-dear", "provider", told)
    assert paid["cost_micro_usd"] == 1000 * told[0] + 3000 * told[1]
    calls = len([request for request in provider.requests if request.model == "m-dear"])
    _, record = await ask(proxy, model, "", prompt=prompt, stream=stream)
    if len([request for request in provider.requests if request.model == "m-dear"]) == calls:
        assert (record["usage_source"], record["cost_micro_usd"]) == ("cache", 0)
    else:  # LiteLLM does not keep every stream of this API
        assert record["cost_micro_usd"] == paid["cost_micro_usd"]


async def test_many_at_once_are_told_apart(proxy: Proxy, provider: FakeProvider) -> None:
    async def one(number: int) -> Any:
        model = ("dear", "down", "pair")[number % 3]
        return number, (await ask(proxy, model, f"Crowd {number % 15}", stream=number % 2 == 0))[1]

    await asyncio.gather(*(one(number) for number in range(15)))
    again = dict(await asyncio.gather(*(one(number) for number in range(15))))
    assert {record["usage_source"] for record in again.values()} == {"cache"}, json.dumps(again)
    assert sum(record["cost_micro_usd"] for record in again.values()) == 0
