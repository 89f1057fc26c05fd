"""The direct handler through a whole gateway: what reaches the upstream, and what comes back."""

import asyncio
import json

import pytest

from crplugins.testing import FakeProvider, Script
from tests.gateway_setup import CLIENT_KEY, HELLO, UPSTREAM_KEY


async def test_the_upstream_gets_the_clients_bytes_with_its_own_name_for_the_model(behind):
    body = b'{ "big": 123456789012345678901234567890, "model" : "m",\n "messages":[{"role":"user","content":"\\u00e9"}],"temperature":1.50 }'
    async with behind() as gateway:
        assert (await gateway.post(body)).status == 200
        assert gateway.provider.requests[0].body == body.replace(b'"m"', b'"upstream-model"')


async def test_the_upstream_gets_the_gateways_key_and_none_of_the_clients_headers(behind):
    async with behind() as gateway:
        gateway.headers |= {"cookie": "a=b", "openai-organization": "org-x", "x-custom": "1"}
        await gateway.post()
        request = gateway.provider.requests[0]
        assert request.bearer == UPSTREAM_KEY
        assert CLIENT_KEY not in str(request.headers)
        assert not {"cookie", "openai-organization", "x-custom"} & request.headers.keys()


async def test_parameters_of_the_deployment_stand_in_for_those_the_client_did_not_send(behind):
    async with behind(temperature=0.25, max_tokens=7, extra_headers={"x-tenant": "blue"}) as gateway:
        await gateway.post(max_tokens=3)
        request = gateway.provider.requests[0]
        assert request.json["temperature"] == 0.25
        assert request.json["max_tokens"] == 3
        assert "extra_headers" not in request.json
        assert request.headers["x-tenant"] == "blue"


async def test_words_that_speak_to_litellm_never_leave_and_say_the_same_here(behind):
    words = {
        "extra_body": {"top_k": 5, "timeout": "as the provider means it"},
        "additional_drop_params": ["seed", "absent"],
        "headers": {"x-zone": "north"},
        "default_headers": {"x-zone": "south", "x-tier": "2"},
        "guardrails": ["polite"],
        "cache_control_injection_points": [{"location": "message"}],
        "merge_reasoning_content_in_choices": True,
        "litellm_credential_name": "team",
        "langfuse_secret": "sk-lf-0123456789",
        "client_secret": "azure",
        "aws_region_name": "eu-north-1",
    }
    async with behind(**words, min_p=0.1) as gateway:
        await gateway.post(seed=7)
        request = gateway.provider.requests[0]
        assert request.json.keys() == {"model", "messages", "top_k", "timeout", "min_p"}
        assert request.json["timeout"] == "as the provider means it"
        assert (request.headers["x-zone"], request.headers["x-tier"]) == ("north", "2")


async def test_one_connection_carries_many_requests_plain_and_streamed(behind):
    async with behind() as gateway:
        for number in range(20):
            await gateway.post(stream=bool(number % 2))
        assert gateway.provider.connections_accepted == 1


async def test_a_stream_has_openais_headers_and_no_length(behind):
    async with behind() as gateway:
        answer = await gateway.post(stream=True)
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["x-accel-buffering"] == "no"
        assert "content-length" not in answer.headers
        assert answer.text.endswith("data: [DONE]\n\n")


async def test_each_event_arrives_before_the_upstream_sends_the_next(behind):
    async with behind() as gateway:
        for sent in range(2, 5):  # the first chunk is the role alone, which is held
            gateway.provider.enqueue(Script(text="one two three four", stall_after=sent))
            async with gateway.open(stream=True) as response, asyncio.timeout(60):
                for _ in range(sent):
                    await response.content.readuntil(b"\n\n")


async def test_the_headers_of_the_upstream_do_not_pass(behind):
    async with behind() as gateway:
        gateway.provider.enqueue(
            Script(headers={"x-ratelimit-remaining-requests": "9", "set-cookie": "a=b", "x-request-id": "req_theirs"})
        )
        answer = await gateway.post()
        assert not [name for name in answer.headers if name.startswith(("x-ratelimit", "set-cookie"))]
        assert answer.headers["x-request-id"] != "req_theirs"


async def test_an_error_in_a_plain_answer_with_status_200_becomes_an_error(behind):
    async with behind() as gateway:
        gateway.provider.enqueue(Script(body={"error": {"message": "overloaded", "code": 503}}))
        answer = await gateway.post()
        assert answer.status == 503
        assert json.loads(answer.body)["error"]["code"] == "upstream_error"


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b'{"choices": ['])
async def test_a_plain_answer_that_is_not_a_json_object_is_refused(behind, body):
    async with behind() as gateway:
        gateway.provider.enqueue(Script(body=body, content_type="application/json"))
        answer = await gateway.post()
        assert answer.status == 502
        assert json.loads(answer.body)["error"]["code"] == "upstream_malformed"


async def test_a_plain_answer_that_is_cut_is_an_error(behind):
    async with behind() as gateway:
        gateway.provider.enqueue(Script(reset_after=3, write=10))
        answer = await gateway.post()
        assert answer.status == 502


async def test_a_redirect_is_not_followed(behind):
    async with behind() as gateway, FakeProvider() as elsewhere:
        gateway.provider.enqueue(Script(status=307, headers={"location": elsewhere.base_url + "/chat/completions"}))
        answer = await gateway.post()
        assert answer.status == 502
        assert not elsewhere.requests


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_while_waiting_ends_the_upstream_call_at_once(behind, stream):
    async with behind() as gateway:
        gateway.provider.enqueue(Script(delay=3600))
        call = asyncio.create_task(gateway.post(stream=stream))
        await gateway.provider.wait_for_requests(1)
        call.cancel()
        request = await gateway.provider.requests[0].wait_finished()
        assert request.client_gone


async def test_a_client_that_leaves_mid_stream_ends_the_upstream_call_at_once(behind):
    async with behind() as gateway:
        gateway.provider.enqueue(Script(text="word " * 1000, stall_after=2))  # the role, and a word
        async with gateway.open(stream=True) as response:
            await response.content.readany()
        request = await gateway.provider.requests[0].wait_finished()
        assert request.client_gone
        assert request.frames_sent < 3


@pytest.mark.parametrize("stream", [False, True])
async def test_an_upstream_that_is_down_is_a_502_that_names_no_address(behind, stream):
    async with FakeProvider() as provider:
        gone = provider.base_url
    async with behind(api_base=gone) as gateway:
        answer = await gateway.post(stream=stream)
        assert answer.status == 502
        assert json.loads(answer.body)["error"]["code"] == "upstream_unreachable"
        assert "127.0.0.1" not in answer.text


@pytest.mark.parametrize("fault", [{"refuse_connection": True}, {"delay": 5}, {"slow_headers": 0.05, "delay": 1}])
async def test_failures_before_the_answer_are_statuses_also_for_streams(behind, fault):
    async with behind(timeout=0.5) as gateway:
        gateway.provider.enqueue(Script(**fault))
        answer = await gateway.post(stream=True)
        assert answer.status in (502, 504)
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-request-id"]


async def test_the_name_a_wildcard_stood_for_reaches_the_upstream(behind):
    async with behind() as gateway:
        await gateway.post(model="replay-something", messages=HELLO)
        assert gateway.provider.requests[0].model == "replay-something"
