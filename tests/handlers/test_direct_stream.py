"""Recorded and broken streams through the direct handler."""

import json

import pytest

from crplugins.core.sse import Splitter
from crplugins.testing import FakeProvider, Script
from tests.gateway_setup import UPSTREAM_KEY

CHUNK = b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"x","choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":null}]}\n\n'
FINISH = b'data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
END = {"index": 0, "delta": {}, "finish_reason": "stop"}

pytestmark = pytest.mark.parametrize("serve", ["sending", "pushing"], indirect=True)


def last_error(body: bytes) -> dict:
    """The error object of a stream that ends with an error frame and [DONE]."""
    *_, error, done = Splitter().feed(body)
    assert done.is_done
    return json.loads(error.data)["error"]


EVERYTHING = {"include_usage": True, "continuous_usage_stats": True}  # no usage is hidden from who asks so


@pytest.mark.parametrize("write", ["frame", "all", 7])
async def test_every_recording_reaches_the_client_byte_for_byte(behind, cassettes, write):
    async with FakeProvider() as provider, behind(provider) as gateway:
        for cassette in cassettes.values():
            if not cassette.is_stream or cassette.id.startswith("anthropic") or "error" in cassette.id:
                continue
            provider.enqueue(cassette.script(write=write))
            answer = await gateway.post(stream=True, stream_options=EVERYTHING)
            passed = cassette.data.removesuffix(DONE)
            assert answer.status == 200
            assert answer.body.startswith(passed), cassette.id
            more = answer.body[len(passed) :].removesuffix(DONE)
            if cassette.id == "snowflake-text":  # it names no reason for its end, without which some SDKs fail
                assert json.loads(more.removeprefix(b"data: "))["choices"] == [END]
            else:
                assert more == b"", cassette.id


async def test_every_recording_cut_in_the_middle_ends_in_an_error_frame(behind, cassettes):
    async with FakeProvider() as provider, behind(provider) as gateway:
        for cassette in cassettes.values():
            if not cassette.is_stream or cassette.id.startswith("anthropic") or "error" in cassette.id:
                continue
            frames = len(cassette.script().events)
            for fault in ({"cut_after": frames // 3 + 1}, {"reset_after": frames // 3 + 1}):
                provider.enqueue(cassette.script(frame_delay=0.002, **fault))
                answer = await gateway.post(stream=True)
                if answer.status == 502:  # nothing was said before the cut
                    assert b'"delta"' not in b"".join(cassette.script().events[: frames // 3]), cassette.id
                    continue
                assert last_error(answer.body)["code"] == "upstream_incomplete", (cassette.id, fault)


async def test_a_recording_cut_inside_an_event_leaves_no_half_event(behind):
    async with behind() as gateway:
        gateway.provider.enqueue(Script(events=[CHUNK % b"a", (CHUNK % b"b")[:40]]))
        answer = await gateway.post(stream=True)
        assert answer.body.startswith(CHUNK % b"a" + b'data: {"error":')
        assert last_error(answer.body)["type"] == "server_error"


async def test_a_last_event_without_its_blank_line_is_completed(behind):
    async with behind() as gateway:
        gateway.provider.enqueue(Script(events=[CHUNK % b"a", FINISH.rstrip()]))
        assert (await gateway.post(stream=True)).body == CHUNK % b"a" + FINISH + DONE


async def test_a_finished_stream_without_done_gets_one(behind):
    async with behind() as gateway:
        gateway.provider.enqueue(Script(events=[CHUNK % b"a", FINISH]))
        assert (await gateway.post(stream=True)).body == CHUNK % b"a" + FINISH + DONE


async def test_one_unfinished_choice_of_two_is_a_cut(behind):
    other = FINISH.replace(b'"index":0', b'"index":1')
    async with behind() as gateway:
        gateway.provider.enqueue(Script(events=[CHUNK % b"a", other]))
        assert last_error((await gateway.post(stream=True)).body)["code"] == "upstream_incomplete"


async def test_an_event_that_is_not_json_ends_the_stream_with_an_error_where_none_may_be_left_out(behind):
    async with behind(skip_malformed=0) as gateway:
        gateway.provider.enqueue(Script(events=[CHUNK % b"a", b"data: {oops\n\n", CHUNK % b"b", FINISH, DONE]))
        answer = await gateway.post(stream=True)
        assert last_error(answer.body)["code"] == "upstream_malformed"
        assert b"oops" not in answer.body
        assert CHUNK % b"b" not in answer.body


async def test_a_stall_ends_in_an_error_frame_after_the_timeout(behind):
    async with behind(timeout=0.4) as gateway:
        gateway.provider.enqueue(Script(text="a b c", stall_after=2))
        assert last_error((await gateway.post(stream=True)).body)["code"] == "upstream_timeout"


async def test_events_that_break_clients_are_dropped_and_comments_pass(behind):
    noise = [b"event: ping\n\n", b"retry: 3000\n\n", b"id: 7\n\n", b"data:\n\n"]
    async with behind() as gateway:
        gateway.provider.enqueue(Script(events=[b": hello\n\n", *noise, CHUNK % b"a", FINISH, DONE]))
        assert (await gateway.post(stream=True)).body == b": hello\n\n" + CHUNK % b"a" + FINISH + DONE


async def test_an_error_as_first_event_is_a_status(behind):
    async with behind() as gateway:
        gateway.provider.enqueue(Script(events=[b'data: {"error":{"message":"slow down","code":429}}\n\n', DONE]))
        answer = await gateway.post(stream=True)
        assert answer.status == 429
        assert json.loads(answer.body)["error"]["message"] == "slow down"


async def test_an_empty_stream_is_a_502(behind):
    async with behind() as gateway:
        gateway.provider.enqueue(Script(events=[], content_type="text/event-stream"))
        assert (await gateway.post(stream=True)).status == 502


@pytest.mark.parametrize(
    ("cassette", "code", "message"),
    [("groq-midstream-error", "tool_use_failed", "Tool call validation failed"),
     ("openrouter-midstream-error", None, "Token limit reached")],
)  # fmt: skip
async def test_a_recorded_error_in_mid_stream_is_built_anew_of_what_is_known_of_it(
    behind, cassettes, cassette, code, message
):
    async with FakeProvider() as provider, behind(provider) as gateway:
        provider.enqueue(cassettes[cassette].script())
        error = last_error((await gateway.post(stream=True)).body)
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["code"], error["type"]) == (code, "invalid_request_error")
    assert error["message"].startswith(message)


ADDRESS = "http://10.1.2.3:8000/v1"
LEAK = f"{ADDRESS} refused {UPSTREAM_KEY}"


@pytest.mark.parametrize(
    "frame",
    [
        {"error": {"message": LEAK, "code": 400}},
        {"error": {"message": "no", "code": 400, "metadata": {"raw": LEAK, "provider_name": ADDRESS}}},
        {"error": {"message": "no", "code": 400, "type": ADDRESS, "param": UPSTREAM_KEY}},
        {"error": {"message": "no", "code": 400}, "provider": ADDRESS, "choices": [{"index": 0, "error": LEAK}]},
        {"error": {"message": json.dumps({"error": {"message": "no", "raw": LEAK}}), "code": 400}},
        {"error": {"message": "no:\\n" + UPSTREAM_KEY, "code": 400}},
        {"error": LEAK},
        {"error": [LEAK]},
    ],
)
async def test_an_error_in_mid_stream_shows_neither_address_nor_key_wherever_they_stand(behind, frame):
    async with behind() as gateway:
        gateway.provider.enqueue(Script(events=[CHUNK % b"a", b"data: " + json.dumps(frame).encode() + b"\n\n"]))
        answer = await gateway.post(stream=True)
    assert last_error(answer.body)["message"]
    assert "10.1.2.3" not in answer.text
    assert UPSTREAM_KEY not in answer.text


@pytest.mark.parametrize("code", ["insufficient_quota", "billing_hard_limit_reached"])
async def test_the_operators_spent_quota_in_mid_stream_is_not_the_clients(behind, code):
    frame = json.dumps({"error": {"message": "You exceeded your current quota.", "type": code, "code": code}})
    async with behind() as gateway:
        gateway.provider.enqueue(Script(events=[CHUNK % b"a", b"data: " + frame.encode() + b"\n\n"]))
        error = last_error((await gateway.post(stream=True)).body)
    assert (error["type"], error["code"]) == ("server_error", "upstream_quota")


async def test_an_error_in_mid_stream_that_is_then_cut_stays_the_only_error(behind):
    frame = b'event: error\ndata: {"error":{"message":"boom"}}\n\n'
    async with behind() as gateway:
        gateway.provider.enqueue(Script(events=[CHUNK % b"a", frame, CHUNK % b"b"], reset_after=2, frame_delay=0.01))
        body = (await gateway.post(stream=True)).body
    assert body.startswith(CHUNK % b"a")
    assert body.count(b'"error"') == 1
    assert last_error(body)["code"] == "upstream_error"


async def test_silence_is_filled_with_comments_only_when_configured(behind):
    slow = Script(events=[CHUNK % b"a", FINISH, DONE], frame_delay=0.25)
    async with behind(server={"stream_keep_alive_seconds": 0.1}) as gateway:
        gateway.provider.enqueue(slow)
        body = (await gateway.post(stream=True)).body
        assert 2 <= body.count(b": keep-alive\n\n") <= 8  # four on an idle machine
        assert body.replace(b": keep-alive\n\n", b"") == CHUNK % b"a" + FINISH + DONE
    async with behind() as gateway:
        gateway.provider.enqueue(slow)
        assert (await gateway.post(stream=True)).body == CHUNK % b"a" + FINISH + DONE
