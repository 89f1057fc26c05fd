"""Our callback and custom_auth in LiteLLM's real proxy, and the same inside our entry, before a fake provider."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from functools import cache
from typing import Any

import httpx
import openai
import pytest

from crplugins.testing import FakeProvider, Script
from tests.config.litellm.examples import LITELLM
from tests.proxy_provider import EveryEndpoint
from tests.proxy_setup import CALLBACK, ENTRY, Proxy, needs_proxy, running_proxy

pytestmark = [pytest.mark.slow, needs_proxy]

HELLO: Any = [{"role": "user", "content": "Say hello to the gateway, please."}]
KEY, LIMITED, PARALLEL, NARROW, POOR = (
    "sk-team-a-000001",
    "sk-limited-00002",
    "sk-parallel-0003",
    "sk-narrow-000004",
    "sk-poor-00000005",
)

OURS: dict[str, Any] = {
    "keys": [
        {"id": "team-a", "secret": KEY, "team": "search"},
        {"id": "limited", "secret": LIMITED, "limits": {"requests_per_minute": 2}},
        {"id": "parallel", "secret": PARALLEL, "limits": {"max_parallel_requests": 1}},
        {"id": "narrow", "secret": NARROW, "models": ["fast"]},
        {"id": "poor", "secret": POOR, "limits": {"tokens_per_minute": 10}},
    ],
    "aliases": {"fast": "fake-model"},
    "ledger": {"url": "sqlite:///usage.db", "commit_seconds": 0},
    "metrics": {"path": "/crplugins/metrics", "token": "scrape-token"},
    "server": {"max_body_bytes": 100_000},
}


@pytest.fixture(scope="module", params=["callback", "entry"])
def proxy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    app = CALLBACK if request.param == "callback" else ENTRY
    with running_proxy(tmp_path_factory.mktemp(request.param), app, ours=OURS) as running:
        yield running


@pytest.fixture
async def provider(proxy: Proxy) -> AsyncIterator[FakeProvider]:
    async with FakeProvider(port=proxy.provider_port) as running:
        yield running


def is_entry(proxy: Proxy) -> bool:
    return proxy.folder.name.startswith("entry")


@cache
def rewrites_refusals() -> bool:
    """Whether this LiteLLM's /v1/completions puts an exception of its own in the place of a hook's refusal, without its
    headers, and with the status for its code."""
    source = (LITELLM / "proxy" / "proxy_server.py").read_text(encoding="utf-8")
    endpoint = source.partition("\nasync def completion(")[2].partition("\n@router.")[0]
    assert "post_call_failure_hook" in endpoint
    return "isinstance(e, ProxyException)" not in endpoint


def code_at(path: str, status: int, code: str) -> str:
    return str(status) if path == "/v1/completions" and rewrites_refusals() else code


async def post(proxy: Proxy, key: str | None = KEY, path: str = "/v1/chat/completions", **body: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    payload = {"model": "fake-model", "messages": HELLO, **body}
    async with httpx.AsyncClient(timeout=60) as client:
        return await client.post(proxy.url + path, json=payload, headers=headers)


async def ask(proxy: Proxy, path: str, key: str = KEY, **body: Any) -> httpx.Response:
    """Of an endpoint that has no messages."""
    async with httpx.AsyncClient(timeout=60) as client:
        return await client.post(proxy.url + path, json=body, headers={"authorization": f"Bearer {key}"})


async def scrape(proxy: Proxy) -> str:
    async with httpx.AsyncClient() as client:
        answer = await client.get(
            f"{proxy.url}/crplugins/metrics", headers={"authorization": "Bearer scrape-token"}, follow_redirects=True
        )
    assert answer.status_code == 200, answer.text
    return answer.text


async def test_a_plain_answer_leaves_one_record(proxy: Proxy, provider: FakeProvider) -> None:
    async with proxy.client(KEY) as client:
        raw = await client.chat.completions.with_raw_response.create(model="fast", messages=HELLO)
    answer = raw.parse()
    assert answer.choices[0].message.content
    assert answer.model == "fast"
    assert answer.usage is not None
    record = await proxy.record(raw.headers["x-request-id"])
    told = provider.last_request.usage
    assert told == (answer.usage.prompt_tokens, answer.usage.completion_tokens)
    assert (record["usage"]["input_tokens"], record["usage"]["output_tokens"]) == told
    assert record["key_id"] == "team-a"
    assert record["team"] == "search"
    assert record["requested_model"] == "fast"
    assert record["provider"] == "openai"
    assert record["attempts"] == 1
    assert (record["status"], record["outcome"], record["usage_source"]) == (200, "ok", "provider")
    assert record["cost_micro_usd"] == told[0] + 2 * told[1]
    assert record["finish_reason"] == "stop"


async def test_a_stream_leaves_the_providers_usage_that_the_client_did_not_ask_for(
    proxy: Proxy, provider: FakeProvider
) -> None:
    async with proxy.client(KEY) as client:
        stream = await client.chat.completions.create(model="fast", messages=HELLO, stream=True)
        chunks = [chunk async for chunk in stream]
        request_id = stream.response.headers["x-request-id"]
    assert all(chunk.usage is None for chunk in chunks)
    assert {chunk.model for chunk in chunks} == {"fast"}
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    record = await proxy.record(request_id)
    assert (record["usage"]["input_tokens"], record["usage"]["output_tokens"]) == provider.last_request.usage
    assert record["stream"] is True
    assert record["ttft_ms"] > 0
    assert (record["outcome"], record["usage_source"]) == ("ok", "provider")


async def test_a_client_that_asks_sees_usage_on_one_chunk_in_openais_form(proxy: Proxy, provider: FakeProvider) -> None:
    async with proxy.client(KEY) as client:
        stream = await client.chat.completions.create(
            model="fake-model", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    shown = [chunk for chunk in chunks if chunk.usage is not None]
    assert len(shown) == 1
    assert shown[0].choices == []
    assert shown[0].usage is not None
    assert (shown[0].usage.prompt_tokens, shown[0].usage.completion_tokens) == provider.last_request.usage


async def test_a_wrong_key_is_refused_in_openais_words(proxy: Proxy, provider: FakeProvider) -> None:
    answer = await post(proxy, "sk-wrong-0000000000")
    assert answer.status_code == 401
    error = answer.json()["error"]
    assert error["message"].startswith("Incorrect API key provided: sk-****0000.")
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", None, "invalid_api_key")
    assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    async with proxy.client("sk-wrong-0000000000") as client:
        with pytest.raises(openai.AuthenticationError):
            await client.chat.completions.create(model="fake-model", messages=HELLO)
    assert provider.received == 0


async def test_no_key_is_refused(proxy: Proxy, provider: FakeProvider) -> None:
    answer = await post(proxy, None)
    assert answer.status_code == 401
    error = answer.json()["error"]
    assert error["message"].startswith("You didn't provide an API key.")
    assert error["code"] is None
    assert provider.received == 0


async def test_other_headers_carry_a_key_too(proxy: Proxy, provider: FakeProvider) -> None:
    async with httpx.AsyncClient() as client:
        for name in ("x-api-key", "api-key"):
            answer = await client.post(
                f"{proxy.url}/v1/chat/completions", json={"model": "fake-model", "messages": HELLO}, headers={name: KEY}
            )
            assert answer.status_code == 200, answer.text


async def test_unknown_and_hidden_models_are_404(proxy: Proxy, provider: FakeProvider) -> None:
    for key, model in ((KEY, "no-such-model"), (NARROW, "other-model")):
        answer = await post(proxy, key, model=model)
        assert answer.status_code == 404
        assert answer.json()["error"] == {
            "message": f"The model `{model}` does not exist or you do not have access to it.",
            "type": "invalid_request_error",
            "param": None,
            "code": "model_not_found",
        }
        record = await proxy.record(answer.headers["x-request-id"])
        assert (record["status"], record["outcome"], record["error_type"]) == (404, "client_error", "unknown_model")
    assert (await post(proxy, NARROW, model="fast")).status_code == 200


async def test_no_other_place_of_the_model_gets_past_the_keys_list(proxy: Proxy, provider: FakeProvider) -> None:
    for path in ("/v1/chat/completions?model=other-model", "/openai/deployments/other-model/chat/completions"):
        answer = await post(proxy, NARROW, path, model="fast")
        assert answer.status_code == 404 or provider.last_request.model == "fake-model", (path, answer.text)


async def test_no_parameter_of_litellms_names_a_model_that_nobody_has_judged(
    proxy: Proxy, provider: FakeProvider
) -> None:
    provider.script("fake-model", Script.error(500, "down"))  # LiteLLM would fall back
    for name, value in (
        ("fallbacks", ["other-model"]),
        ("models", ["other-model"]),
        ("fallbacks", [{"fake-model": ["other-model"]}]),
        ("context_window_fallbacks", [{"fake-model": ["other-model"]}]),
        ("router_settings_override", {"fallbacks": [{"fake-model": ["other-model"]}]}),
    ):
        for path in ("/v1/chat/completions", "/v1/completions", "/v1/embeddings"):
            answer = await post(proxy, NARROW, path, model="fast", prompt="hi", input="hi", **{name: value})
            error = answer.json()["error"]
            told = (answer.status_code, error["param"], error["code"])
            unknown = (404, None, code_at(path, 404, "model_not_found"))
            hidden = value == ["other-model"] and told == unknown  # the key may not call it
            assert hidden or told == (400, name, code_at(path, 400, "unsupported_parameter")), (path, answer.text)
            answer = await post(proxy, KEY, path, model="fast", prompt="hi", input="hi", **{name: value})
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, name), (path, answer.text)
    assert provider.received == 0


@pytest.mark.parametrize(
    "lax",
    [{"stream": "true"}, {"stream": 1}, {"n": "8"}, {"max_tokens": "100000"}, {"max_completion_tokens": 1e5}],
    ids=str,
)
async def test_what_litellm_takes_for_a_value_of_another_type_is_refused(
    proxy: Proxy, provider: FakeProvider, lax: dict[str, Any]
) -> None:
    refused = await post(proxy, **lax)
    assert refused.status_code == 400, refused.text
    error = refused.json()["error"]
    assert (error["param"], error["code"]) == (next(iter(lax)), "invalid_type")
    form = {"model": "fake-model", "messages": "[]", **{name: str(value) for name, value in lax.items()}}
    async with httpx.AsyncClient(timeout=60) as client:
        headers = {"authorization": f"Bearer {KEY}"}
        refused = await client.post(f"{proxy.url}/v1/chat/completions", data=form, headers=headers)
    assert refused.status_code in (400, 415), refused.text
    assert provider.requests == []


async def test_no_parameter_of_litellms_puts_others_in_the_place_of_those_that_were_judged(
    proxy: Proxy, provider: FakeProvider
) -> None:
    for name, value, named in (
        ("extra_body", {"top_k": 1, "model": "other-model"}, "model"),
        ("extra_body", {"n": 100}, "n"),
        ("extra_body", {"Max_Tokens": 9999}, "max_tokens"),
        ("extra_body", {"stream": True}, "stream"),
        ("additional_drop_params", ["top_p", "max_tokens"], "max_tokens"),
    ):
        answer = await post(proxy, NARROW, model="fast", max_tokens=1, **{name: value})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, f"{name}.{named}"), answer.text
    assert provider.received == 0
    assert (await post(proxy, extra_body={"top_k": 1}, additional_drop_params=["top_p"])).status_code == 200


async def test_no_parameter_of_litellms_has_another_model_provider_or_account_asked_than_the_judged_one(
    proxy: Proxy, provider: FakeProvider
) -> None:
    for name, value in (
        ("deployment_id", "other-model"),
        ("deployment_id", ""),
        ("context_window_fallback_dict", {"fake-model": "other-model"}),
        ("custom_llm_provider", "hosted_vllm"),
        ("azure", True),
        ("litellm_credential_name", "another-account"),
    ):
        for path in ("/v1/chat/completions", "/v1/completions", "/v1/embeddings"):
            answer = await post(proxy, NARROW, path, model="fast", prompt="hi", input="hi", **{name: value})
            error = answer.json()["error"]
            told = (answer.status_code, error["param"], error["code"])
            assert told == (400, name, code_at(path, 400, "unsupported_parameter")), (path, answer.text)
    assert provider.received == 0
    nothing = {"deployment_id": None, "context_window_fallback_dict": None, "azure": False}
    assert (await post(proxy, NARROW, model="fast", **nothing)).status_code == 200
    assert provider.last_request.model == "fake-model"


@pytest.mark.parametrize(
    ("more", "header"),
    [
        ({"num_retries": 3}, {}),
        ({}, {"x-litellm-num-retries": "3"}),
        ({"model_group_retry_policy": {"fake-model": {"InternalServerErrorRetries": 3}}}, {}),
    ],
    ids=["parameter", "header", "policy"],
)
async def test_no_client_has_a_failing_provider_asked_more_often_than_the_router_would(
    proxy: Proxy, provider: FakeProvider, more: dict[str, Any], header: dict[str, str]
) -> None:
    provider.script("fake-model", Script.error(500, "down"))
    body = {"model": "fake-model", "messages": HELLO, **more}
    async with httpx.AsyncClient(timeout=60) as client:
        headers = {"authorization": f"Bearer {KEY}", **header}
        answer = await client.post(f"{proxy.url}/v1/chat/completions", json=body, headers=headers)
    assert answer.status_code == 500
    assert provider.received == 1  # the router of these tests makes no retry
    record = await proxy.record(answer.headers["x-request-id"])
    assert record["attempts"] == 1


async def test_a_request_over_the_limit_is_told_when_to_come_again(proxy: Proxy, provider: FakeProvider) -> None:
    first = await post(proxy, LIMITED)
    assert first.headers["x-ratelimit-limit-requests"] == "2"
    assert first.headers["x-ratelimit-remaining-requests"] == "1"
    assert (await post(proxy, LIMITED, stream=True)).headers["x-ratelimit-remaining-requests"] == "0"
    refused = await post(proxy, LIMITED)
    assert refused.status_code == 429
    error = refused.json()["error"]
    assert (error["type"], error["code"]) == ("requests", "rate_limit_exceeded")
    assert error["message"].startswith("Rate limit reached for fake-model in organization limited on requests per min")
    assert 0 < int(refused.headers["retry-after"]) <= 60
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    record = await proxy.record(refused.headers["x-request-id"])
    assert (record["status"], record["outcome"], record["error_type"]) == (429, "limited", "rate_limited")
    assert provider.received == 2


async def test_a_request_too_large_for_the_token_limit_is_refused(proxy: Proxy, provider: FakeProvider) -> None:
    refused = await post(proxy, POOR, max_tokens=5000)
    assert refused.status_code == 429
    assert refused.json()["error"]["type"] == "tokens"
    assert provider.received == 0


async def test_a_parallel_slot_is_free_again_however_a_request_ends(proxy: Proxy, provider: FakeProvider) -> None:
    provider.script("fake-model", Script(delay=0.5))
    answers = await asyncio.gather(*(post(proxy, PARALLEL) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 429, 429, 429]
    provider.script("fake-model", Script.error(500, "boom"))
    assert (await post(proxy, PARALLEL)).status_code == 500
    provider.script("fake-model", Script(reset_after=3, frame_delay=0.05))
    with pytest.raises((httpx.HTTPError, AssertionError)):
        broken = await post(proxy, PARALLEL, stream=True)
        assert "error" not in broken.text
    provider.script("fake-model", Script())
    assert (await post(proxy, PARALLEL)).status_code == 200


async def test_a_providers_refusal_is_passed_on_and_recorded_once(proxy: Proxy, provider: FakeProvider) -> None:
    provider.enqueue(
        Script.error(
            400, "Invalid 'temperature': must be at most 2.", param="temperature", code="decimal_above_max_value"
        )
    )
    answer = await post(proxy, stream=True)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert "litellm" not in error["message"].lower()
    assert (error["message"], error["param"]) == ("Invalid 'temperature': must be at most 2.", "temperature")
    record = await proxy.record(answer.headers["x-request-id"])
    assert (record["status"], record["error_type"]) == (400, "upstream_4xx")
    assert record["usage_source"] == "none"


async def test_a_refusal_of_our_own_credentials_is_not_the_clients(proxy: Proxy, provider: FakeProvider) -> None:
    provider.enqueue(Script.error(401, "Incorrect API key provided: sk-upstream."))
    seen = len(proxy.records())
    answer = await post(proxy)
    assert answer.status_code == 502
    assert "sk-upstream" not in answer.text
    record = await proxy.next_record(seen)
    assert (record["status"], record["error_type"]) == (502, "upstream_auth")


async def test_a_providers_failure_is_recorded_once(proxy: Proxy, provider: FakeProvider) -> None:
    provider.enqueue(Script.error(500, "boom"))
    seen = len(proxy.records())
    answer = await post(proxy)
    assert answer.status_code == 500
    record = await proxy.next_record(seen)
    assert (record["status"], record["outcome"], record["error_type"]) == (500, "server_error", "upstream_5xx")


async def test_a_stream_that_is_cut_is_a_failure_with_what_came(proxy: Proxy, provider: FakeProvider) -> None:
    provider.enqueue(Script(reset_after=4, frame_delay=0.05))
    seen = len(proxy.records())
    async with proxy.client(KEY) as client:
        with pytest.raises(openai.APIError, match="ended the stream before"):
            async for _ in await client.chat.completions.create(model="fake-model", messages=HELLO, stream=True):
                pass
    record = await proxy.next_record(seen)
    assert (record["status"], record["outcome"], record["error_type"]) == (
        200,
        "server_error",
        "upstream_stream_broken",
    )
    assert record["usage_source"] == "estimated"


async def test_a_client_that_leaves_is_metered_and_frees_its_slot(proxy: Proxy, provider: FakeProvider) -> None:
    provider.enqueue(Script(frame_delay=0.1, text="word " * 200, chunk_size=5))
    seen = len(proxy.records())
    async with proxy.client(PARALLEL) as client:
        stream = await client.chat.completions.create(model="fake-model", messages=HELLO, stream=True)
        received = 0
        async for _ in stream:
            received += 1
            if received == 4:
                break
        await stream.close()
    record = await proxy.next_record(seen)
    assert (record["status"], record["outcome"], record["error_type"]) == (200, "cancelled", "client_disconnected")
    assert record["usage_source"] == "estimated"
    assert record["usage"]["output_tokens"] > 0
    assert (await post(proxy, PARALLEL)).status_code == 200


async def test_what_litellm_counts_itself_is_marked_as_estimated(proxy: Proxy, provider: FakeProvider) -> None:
    for asked in ({}, {"stream_options": {"include_usage": True}}):
        provider.enqueue(Script(usage="off"))
        answer = await post(proxy, stream=True, **asked)
        assert answer.status_code == 200
        record = await proxy.record(answer.headers["x-request-id"])
        assert provider.last_request.usage is None
        assert record["usage_source"] == "estimated"
        assert record["usage"]["input_tokens"] > 0 < record["usage"]["output_tokens"]
    provider.enqueue(Script(usage="in_finish_chunk"))
    answer = await post(proxy, stream=True)
    record = await proxy.record(answer.headers["x-request-id"])
    assert record["usage_source"] == "provider"
    assert (record["usage"]["input_tokens"], record["usage"]["output_tokens"]) == provider.last_request.usage


async def test_other_endpoints_are_limited_and_recorded_under_the_id_the_client_is_told(proxy: Proxy) -> None:
    async with EveryEndpoint(port=proxy.provider_port) as provider:
        for path, model, body in (
            ("/v1/completions", "fast", {"prompt": "Say hello."}),
            ("/v1/completions", "fast", {"prompt": "Say hello.", "stream": True}),
            ("/v1/embeddings", "fast", {"input": "hello"}),
            ("/v1/responses", "fast", {"input": "Say hello."}),
            ("/v1/responses", "fast", {"input": "Say hello.", "stream": True}),
            ("/v1/messages", "adapted", {"messages": HELLO, "max_tokens": 20}),
            ("/v1/messages", "adapted", {"messages": HELLO, "max_tokens": 20, "stream": True}),
            ("/v1/messages", "fast", {"messages": HELLO, "max_tokens": 20}),  # as a response, not as a chat completion
        ):
            answer = await ask(proxy, path, model=model, **body)
            assert answer.status_code == 200, (path, answer.text)
            record = await proxy.record(answer.headers["x-request-id"])
            assert record["attempts"] == 1, path
            assert (record["key_id"], record["requested_model"], record["outcome"]) == ("team-a", model, "ok")
            assert record["usage_source"] == "provider"
            told = provider.last_request.usage
            assert (record["usage"]["input_tokens"], record["usage"]["output_tokens"]) == told, path
        for path, parameter in (("/v1/embeddings", "no-log"), ("/v1/responses", "background")):
            unseen = await ask(proxy, path, model="fast", input="hello", **{parameter: True})
            assert (unseen.status_code, unseen.json()["error"]["param"]) == (400, parameter)
        seen = len(proxy.records())
        refused = await ask(proxy, "/v1/completions", POOR, model="fast", prompt="word " * 100, max_tokens=5000)
        assert (refused.status_code, refused.json()["error"]["type"]) == (429, "tokens")
        record = await proxy.next_record(seen)
        assert (record["key_id"], record["outcome"]) == ("poor", "limited")
        if is_entry(proxy) or not rewrites_refusals():
            assert refused.headers["x-request-id"] == record["request_id"]
        hidden = await ask(proxy, "/v1/embeddings", NARROW, model="other-model", input="hello")
        assert hidden.status_code == 404
        assert provider.received == 8


async def test_a_text_stream_is_counted_and_its_usage_hidden_from_who_did_not_ask(proxy: Proxy) -> None:
    async with EveryEndpoint(port=proxy.provider_port) as provider, proxy.client(KEY) as client:
        for options in ({}, {"stream_options": {"include_usage": True}}):
            stream: Any = await client.completions.create(model="fast", prompt="hi", stream=True, **options)
            chunks = [chunk async for chunk in stream]
            assert "".join(c.choices[0].text or "" for c in chunks if c.choices) == "Hello from the provider."
            assert len([chunk for chunk in chunks if chunk.usage is not None]) == len(options)
            record = await proxy.record(stream.response.headers["x-request-id"])
            assert record["usage_source"] == "provider"
            assert (record["usage"]["input_tokens"], record["usage"]["output_tokens"]) == provider.last_request.usage


async def test_no_words_of_litellms_reach_the_client_of_another_endpoint(proxy: Proxy) -> None:
    async with EveryEndpoint(port=proxy.provider_port) as provider:
        refusal = Script.error(400, "Invalid 'temperature': must be at most 2.", param="temperature")
        provider.script("fake-model", refusal)
        for path, model, body in (
            ("/v1/completions", "fake-model", {"prompt": "hi"}),
            ("/v1/completions", "fake-model", {"prompt": "hi", "stream": True}),
            ("/v1/embeddings", "fake-model", {"input": "hi"}),
            ("/v1/responses", "fake-model", {"input": "hi"}),
            ("/v1/messages", "adapted", {"messages": HELLO, "max_tokens": 20}),
        ):
            answer = await ask(proxy, path, model=model, **body)
            assert answer.status_code == 400, (path, answer.text)
            assert answer.json()["error"]["message"] == "Invalid 'temperature': must be at most 2.", (path, answer.text)


async def test_metrics_agree_with_records(proxy: Proxy, provider: FakeProvider) -> None:
    await post(proxy)
    text = await scrape(proxy)
    assert "crplugins_requests_total{" in text
    counted = sum(
        float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith("crplugins_requests_total{")
    )
    for _ in range(40):
        if len(proxy.records()) == counted:
            break
        await asyncio.sleep(0.05)
    assert counted == len(proxy.records())
    in_flight = next(line for line in text.splitlines() if line.startswith("crplugins_requests_in_flight"))
    assert float(in_flight.rpartition(" ")[2]) == 0


async def test_models_show_what_a_key_may_call(proxy: Proxy, provider: FakeProvider) -> None:
    if not is_entry(proxy):
        pytest.skip("a callback can only take names away")
    async with proxy.client(NARROW) as client:
        assert [model.id async for model in client.models.list()] == ["fast"]
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve("other-model")


async def test_a_body_over_the_limit_is_413(proxy: Proxy, provider: FakeProvider) -> None:
    if not is_entry(proxy):
        pytest.skip("a callback comes when the body is read")
    answer = await post(proxy, messages=[{"role": "user", "content": "x" * 200_000}])
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "request_too_large"


async def test_nothing_was_said_to_be_uncalled(proxy: Proxy) -> None:
    log = proxy.log.read_text()
    assert "will not call" not in log
    assert "on_finish failed" not in log
    assert "[Non-Blocking]" not in log, log[:6000]
    assert "has not reported how" not in log
