"""What an upstream of the direct handler may send in place of what was asked: other forms, other types, no answer."""

import asyncio
import gzip
import json
from typing import Any

import pytest

from crplugins.core.sse import MAX_DOCUMENT_BYTES, Splitter
from crplugins.testing import FakeProvider, Script
from tests.handlers.http.raw_upstream import upstream

ANSWER = {
    "id": "c-1",
    "object": "chat.completion",
    "created": 5,
    "model": "upstream-model",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Good day"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
}
TYPES = ["text/event-stream", "text/plain", "application/json", "application/octet-stream", "text/html", "nonsense"]


def event(**chunk: Any) -> bytes:
    return b"data: " + json.dumps({"id": "c-1", "model": "upstream-model", **chunk}).encode() + b"\n\n"


def says(content: str | None = None, finish_reason: str | None = None, index: int = 0) -> bytes:
    delta = {} if content is None else {"content": content}
    return event(choices=[{"index": index, "delta": delta, "finish_reason": finish_reason}])


ROLE = event(choices=[{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}])
DONE = b"data: [DONE]\n\n"
WHOLE = [ROLE, says("Good"), says(" day"), says(None, "stop"), event(choices=[], usage=ANSWER["usage"]), DONE]


def text_of(stream: bytes) -> str:
    """What a stream says, by the reading of any client."""
    text = ""
    for line in stream.split(b"\n"):
        if line.startswith(b"data: {"):
            for choice in json.loads(line[6:]).get("choices", ()):
                text += choice["delta"].get("content") or ""
    return text


def code_of(body: bytes) -> str:
    return json.loads(body)["error"]["code"]


@pytest.mark.parametrize("content_type", TYPES)
async def test_a_stream_is_known_by_its_bytes(behind, content_type):
    async with behind() as gateway:
        gateway.provider.enqueue(Script(events=WHOLE, content_type=content_type))
        answer = await gateway.post(stream=True)
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert text_of(answer.body) == "Good day"


@pytest.mark.parametrize("handler", ["direct", "litellm"])
async def test_pieces_that_begin_with_all_that_was_said_are_a_models_own(behind, handler):
    """Whether a server tells all of the text so far in each, or its model counts up, nobody can know."""
    async with behind(handler=handler) as gateway:
        counted = [ROLE, *map(says, ("1", "12", "123", "1234", "1234")), says(None, "stop"), DONE]
        gateway.provider.enqueue(Script(events=counted))
        answer = await gateway.post(stream=True)
        assert (answer.status, text_of(answer.body)) == (200, "11212312341234")


@pytest.mark.parametrize("content_type", TYPES)
@pytest.mark.parametrize("before", [b"", b"\n\n  ", b": waiting\n\n: waiting\n\n", b"\xef\xbb\xbf"])
async def test_a_document_is_known_by_its_bytes(behind, content_type, before):
    async with behind() as gateway:
        body = before + json.dumps(ANSWER).encode()
        gateway.provider.enqueue(Script(body=body, content_type=content_type))
        answer = await gateway.post()
        assert (answer.status, json.loads(answer.body)["choices"]) == (200, ANSWER["choices"])


@pytest.mark.parametrize("reason", [{}, {"finish_reason": None}, {"finish_reason": ""}], ids=str)
async def test_a_document_without_a_reason_for_its_end_becomes_a_stream_that_has_ended(behind, reason):
    async with behind() as gateway:
        choice = {"index": 0, "message": {"role": "assistant", "content": "Good day"}} | reason
        gateway.provider.enqueue(Script(body=ANSWER | {"choices": [choice]}))
        answer = await gateway.post(stream=True)
        assert (answer.status, text_of(answer.body)) == (200, "Good day")
        assert b'"finish_reason":"stop"' in answer.body
        assert b"error" not in answer.body


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_document_with_neither_a_word_nor_a_reason_for_its_end_is_no_answer(behind, streamed):
    async with behind() as gateway:
        choice = {"index": 0, "message": {"role": "assistant", "content": None}, "finish_reason": None}
        gateway.provider.enqueue(Script(body=ANSWER | {"choices": [choice]}))
        answer = await gateway.post(stream=streamed)
        assert (answer.status, code_of(answer.body)) == (502, "upstream_malformed")


@pytest.mark.parametrize("header", ["false", "False"])
async def test_that_a_retry_would_only_fail_again_is_told(behind, header):
    async with behind() as gateway:
        gateway.provider.enqueue(*[Script.rate_limited(None, {"x-should-retry": header})] * 2)
        answer = await gateway.post()
        assert (answer.status, answer.headers["x-should-retry"]) == (429, "false")


COMPLETION = {
    "id": "cmpl-1",
    "object": "text_completion",
    "created": 5,
    "model": "upstream-model",
    "choices": [{"index": 0, "text": "Good day", "logprobs": None, "finish_reason": None}],
    "usage": ANSWER["usage"],
}


async def completed(gateway: Any, **more: Any) -> Any:
    asked = {"model": "m", "prompt": "Hi", **more}
    async with gateway.session.post(f"{gateway.url}/v1/completions", json=asked, headers=gateway.headers) as response:
        return response.status, await response.read()


async def test_a_completion_where_a_stream_was_asked_becomes_one(behind):
    async with behind() as gateway:
        gateway.provider.enqueue(Script(body=COMPLETION))
        status, body = await completed(gateway, stream=True, stream_options={"include_usage": True})
        events = [json.loads(line[6:]) for line in body.splitlines() if line.startswith(b"data: {")]
        assert (status, body.endswith(b"data: [DONE]\n\n")) == (200, True)
        assert [(each["text"], each["finish_reason"]) for event in events for each in event["choices"]] == [
            ("Good day", "stop")
        ]
        assert [event["usage"]["total_tokens"] for event in events if event.get("usage")] == [11]


async def test_a_stream_where_a_completion_was_asked_becomes_one(behind):
    async with behind() as gateway:
        pieces = [{"index": 0, "text": "Good"}, {"index": 0, "text": " day", "finish_reason": "stop"}]
        events = [event(choices=[piece]) for piece in pieces]
        gateway.provider.enqueue(Script(events=[*events, event(choices=[], usage=ANSWER["usage"]), DONE]))
        status, body = await completed(gateway)
        answer = json.loads(body)
        assert (status, answer["choices"][0]["text"], answer["choices"][0]["finish_reason"]) == (
            200,
            "Good day",
            "stop",
        )
        assert answer["usage"]["total_tokens"] == 11


async def test_a_document_where_a_stream_was_asked_becomes_one(behind):
    async with behind() as gateway:
        gateway.provider.enqueue(Script(body=ANSWER))
        answer = await gateway.post(stream=True, stream_options={"include_usage": True})
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert text_of(answer.body) == "Good day"
        assert b'"finish_reason":"stop"' in answer.body
        assert b'"completion_tokens":2' in answer.body
        assert answer.body.endswith(DONE)


async def test_a_stream_where_a_document_was_asked_becomes_one(behind):
    async with behind() as gateway:
        gateway.provider.enqueue(Script(events=WHOLE))
        answer = await gateway.post()
        assert answer.headers["content-type"] == "application/json"
        document = json.loads(answer.body)
        assert (document["object"], document["usage"]) == ("chat.completion", ANSWER["usage"])
        assert document["choices"][0]["message"] == {"role": "assistant", "content": "Good day"}


@pytest.mark.parametrize(
    "events", [WHOLE[:3], [*WHOLE[:3], DONE], [ROLE, says("Good"), event(error={"message": "no"})]]
)
async def test_a_broken_stream_where_a_document_was_asked_is_a_failure(behind, events):
    async with behind() as gateway:
        gateway.provider.enqueue(Script(events=events))
        answer = await gateway.post()
        assert answer.status == 502
        assert b"Good" not in answer.body


@pytest.mark.parametrize("status", [200, 201, 202, 203])
async def test_any_success_with_a_whole_answer_is_one(behind, status):
    async with behind() as gateway:
        gateway.provider.enqueue(Script(status=status, body=ANSWER), Script(status=status, events=WHOLE))
        assert json.loads((await gateway.post()).body)["choices"] == ANSWER["choices"]
        assert text_of((await gateway.post(stream=True)).body) == "Good day"


NO_ANSWERS = [
    {"choices": []},
    {"choices": None, "base_resp": {"status_code": 1013, "status_msg": "unknown"}},
    {"code": 1000, "msg": "internal"},
    {},
    {"id": "c", "object": "chat.completion", "usage": {"prompt_tokens": 3}},
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("document", NO_ANSWERS, ids=lambda document: ",".join(document) or "empty")
async def test_a_success_without_an_answer_is_the_providers_failure(behind, document, stream):
    async with behind() as gateway:
        gateway.provider.enqueue(Script(body=document))
        answer = await gateway.post(stream=stream)
        assert (answer.status, code_of(answer.body)) == (502, "upstream_malformed")


@pytest.mark.parametrize("body", [b"", b"<html>hello</html>", b"null", b"[]", b"7", b"{"])
async def test_a_success_that_is_no_json_object_is_the_providers_failure(behind, body):
    async with behind() as gateway:
        for stream in (False, True):
            gateway.provider.enqueue(Script(body=body, content_type="application/json"))
            assert (await gateway.post(stream=stream)).status == 502


async def test_a_status_that_a_success_names_is_the_status(behind):
    async with behind() as gateway:
        gateway.provider.enqueue(Script(body={"code": 429, "msg": "slow down"}))
        answer = await gateway.post()
        assert answer.status == 429
        assert json.loads(answer.body)["error"]["message"] == "slow down"


async def test_what_follows_a_whole_document_is_cut_off(behind):
    async with behind() as gateway:
        body = json.dumps(ANSWER).encode()
        gateway.provider.enqueue(Script(body=body + b"\n\ndata: [DONE]\n\n"))
        assert (await gateway.post()).body == body


async def test_numbers_and_texts_that_only_clients_read_pass(behind):
    body = json.dumps(ANSWER).encode().replace(b'"stop"', b'"stop", "logprobs": {"content": [{"logprob": NaN}]}')
    body = body.replace(b"Good day", rb"Good \ud83d")
    async with behind() as gateway:
        gateway.provider.enqueue(Script(body=body))
        answer = await gateway.post()
        assert (answer.status, answer.body) == (200, body)


@pytest.mark.parametrize("compressed", [False, True])
async def test_a_plain_answer_is_bounded(behind, compressed):
    body = b" " * MAX_DOCUMENT_BYTES + json.dumps(ANSWER).encode()
    async with behind() as gateway:
        headers = {"content-encoding": "gzip"} if compressed else {}
        sent = gzip.compress(body, 1) if compressed else body
        gateway.provider.enqueue(Script(body=sent, headers=headers, content_type="application/json"))
        answer = await gateway.post()
        assert (answer.status, code_of(answer.body)) == (502, "upstream_malformed")


async def test_an_answer_that_declares_itself_too_long_is_not_read(behind):
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n{" % (MAX_DOCUMENT_BYTES + 1)

    async def says_no_more(visit):
        await visit.request()
        await visit.say(head)
        await visit.closed()

    async with upstream(says_no_more) as server, behind(api_base=server.url) as gateway:
        answer = await gateway.post()
        assert (answer.status, code_of(answer.body)) == (502, "upstream_malformed")


# What comes before the first token, and behind the last.

NOISE = [b": waiting\n\n", b"data: {}\n\n", event(type="ping"), b"event: ping\ndata: {}\n\n", ROLE]


async def test_nothing_is_sent_before_the_first_token(behind):
    """So a refusal behind a role or heartbeats is still a status, and another deployment can be asked."""
    refusal = event(error={"message": "slow down", "code": 429})
    async with behind() as gateway:
        gateway.provider.enqueue(Script(events=[*NOISE, refusal]))
        assert (await gateway.post(stream=True)).status == 429


async def test_heartbeats_do_not_feed_the_deadline(behind):
    async with behind(timeout=0.5) as gateway:
        gateway.provider.enqueue(Script(events=NOISE * 400, frame_delay=0.05))
        answer = await gateway.post(stream=True)
        assert (answer.status, code_of(answer.body)) == (504, "upstream_timeout")


async def test_heartbeats_after_a_token_do_not_feed_the_deadline_either(behind):
    async with behind(timeout=0.5) as gateway:
        gateway.provider.enqueue(Script(events=[ROLE, says("Good"), *NOISE * 400], frame_delay=0.05))
        assert b"upstream_timeout" in (await gateway.post(stream=True)).body


async def test_no_heartbeat_but_a_comment_reaches_the_client(behind):
    async with behind() as gateway:
        gateway.provider.enqueue(Script(events=[ROLE, *NOISE[:4], says("Good"), *NOISE[:4], *WHOLE[2:]]))
        body = (await gateway.post(stream=True)).body
        assert text_of(body) == "Good day"
        assert b"{}\n" not in body
        assert b"ping" not in body
        assert body.count(b": waiting") == 2


async def test_an_answer_with_usage_ends_though_heartbeats_go_on(behind, monkeypatch):
    monkeypatch.setattr("crplugins.handlers.direct_stream._GRACE_SECONDS", 0.2)
    async with behind() as gateway:
        endless = [b": waiting\n\n"] * 100_000
        gateway.provider.enqueue(Script(events=[*WHOLE[:-1], *endless], frame_delay=0.05))
        async with asyncio.timeout(60):
            body = (await gateway.post(stream=True)).body
        assert text_of(body) == "Good day"
        assert body.endswith(DONE)
        assert b'"error"' not in body


BEHIND = [
    b"data: {oops\n\n",
    event(error={"message": "too late"}),
    says("more").replace(b"}\n\n", b""),
    b"data: [DONE]\n\n" + says("more") + b"data: {oops\n\n",
    b'data: "[DONE]"\n\n',
    b"data:  [DONE] \n\n",
]


@pytest.mark.parametrize("rest", BEHIND, ids=["no JSON", "error", "half an event", "junk", "quotes", "blanks"])
async def test_nothing_behind_a_complete_answer_makes_it_a_failure(behind, rest):
    async with behind() as gateway:
        gateway.provider.enqueue(Script(events=[*WHOLE[:-1], rest]))
        body = (await gateway.post(stream=True)).body
        assert text_of(body) == "Good day"
        assert b'"error"' not in body
        assert body.endswith(DONE)
        assert body.count(b"[DONE]") == 1


async def test_a_connection_that_breaks_behind_a_complete_answer_is_no_failure(behind):
    async with behind() as gateway:
        gateway.provider.enqueue(Script(events=WHOLE, reset_after=5, frame_delay=0.01))
        body = (await gateway.post(stream=True)).body
        assert b'"error"' not in body
        assert body.endswith(DONE)


FAILURES = [
    pytest.param([says("Good"), says(" day", "error"), DONE], id="error"),
    pytest.param([says("Good"), says(None, "abort"), DONE], id="abort"),
    pytest.param([says("Good", ""), says(" day", ""), DONE], id="empty throughout"),
    pytest.param([says("Good", "null"), says(" day", "null"), DONE], id="null as a text throughout"),
    pytest.param([says("Good"), says(" day"), DONE], id="null throughout"),
]


@pytest.mark.parametrize("events", FAILURES)
async def test_an_answer_that_never_ended_is_an_error_whatever_is_behind_it(behind, events):
    async with behind() as gateway:
        gateway.provider.enqueue(Script(events=events))
        body = (await gateway.post(stream=True)).body
        assert b'"code":"upstream_incomplete"' in body
        assert b'"stop"' not in body


@pytest.mark.parametrize("calls", [False, True])
async def test_an_answer_without_any_finish_reason_is_complete_with_its_end_mark_and_gets_one(behind, calls):
    """Without one OpenAI's stream helper of Node and the AI SDK fail."""
    pieces = [event(choices=[{"index": 0, "delta": {"content": text}}]) for text in ("Good", " day")]
    if calls:
        call = {"index": 0, "id": "a", "type": "function", "function": {"name": "now", "arguments": "{}"}}
        pieces.append(event(choices=[{"index": 0, "delta": {"tool_calls": [call]}}]))
    async with behind() as gateway:
        gateway.provider.enqueue(Script(events=[*pieces, DONE]))
        body = (await gateway.post(stream=True)).body
    assert body.startswith(b"".join(pieces))
    last, done = Splitter().feed(body.removeprefix(b"".join(pieces)))
    assert done.is_done
    chunk = json.loads(last.data)
    assert chunk["object"] == "chat.completion.chunk"
    assert chunk["choices"] == [{"index": 0, "delta": {}, "finish_reason": "tool_calls" if calls else "stop"}]


ERRORS = [
    (event(code=429, message="slow down"), 429, "slow down"),
    (event(object="error", message="too long", type="BadRequestError", code=400), 400, "too long"),
    (b'event: error\ndata: {"code":422,"details":"no such option"}\n\n', 422, "no such option"),
    (b'error: {"code":400,"message":"too long","type":"invalid_request_error"}\n\n', 400, "too long"),
    (event(error={"message": "no such option", "http_status_code": 422}), 422, "no such option"),
    (event(choices=[{"index": 0, "delta": {"content": ""}, "error": {"code": 429, "message": "slow down"}}]), 429, "slow down"),
    (b"event: error\ndata: overloaded\n\n", 502, None),
    (event(choices=None, base_resp={"status_code": 1008, "status_msg": "insufficient balance"}), 502, None),
]  # fmt: skip


@pytest.mark.parametrize(("error", "status", "message"), ERRORS)
async def test_an_error_in_a_providers_own_words_keeps_its_status_and_its_text(behind, error, status, message):
    async with behind() as gateway:
        gateway.provider.enqueue(Script(events=[says(""), error, DONE]))
        answer = await gateway.post(stream=True)
        assert answer.status == status
        assert message is None or json.loads(answer.body)["error"]["message"] == message
        # No finish reason is named, so that the end mark alone would make it whole.
        gateway.provider.enqueue(Script(events=[event(choices=[{"index": 0, "delta": {"content": "a"}}]), error, DONE]))
        told, done = Splitter().feed((await gateway.post(stream=True)).body)[1:]
        assert done.is_done
        assert message is None or json.loads(told.data)["error"]["message"] == message


@pytest.mark.parametrize("error", [{}, "", False, {"message": "", "type": "", "param": "", "code": None}])
async def test_an_error_that_says_nothing_is_none_and_not_shown(behind, error):
    pieces = [says("Good"), says(" day"), says(None, "stop")]
    named = [piece.replace(b"{", b'{"error": ' + json.dumps(error).encode() + b", ", 1) for piece in pieces]
    async with behind() as gateway:
        gateway.provider.enqueue(Script(events=[*named, DONE]))
        body = (await gateway.post(stream=True)).body
    assert text_of(body) == "Good day"
    assert b'"error"' not in body


def message(content: str | None, finish_reason: str | None = None, **more: Any) -> bytes:
    said = {"role": "assistant", "content": content, **more}
    return event(choices=[{"index": 0, "message": said, "finish_reason": finish_reason}])


CALL = {"id": "a", "type": "function", "function": {"name": "now", "arguments": "{}"}}


@pytest.mark.parametrize(
    "events",
    [[message("Good"), message(" day"), message("", "stop")], [message("Good day", "stop")],
     [says("Good"), says(" day"), message("Good day", "stop")]],
    ids=["pieces", "whole", "once more behind deltas"],
)  # fmt: skip
async def test_messages_in_place_of_deltas_are_heard_and_nothing_twice(behind, events):
    async with behind() as gateway:
        gateway.provider.enqueue(Script(events=[*events, DONE]))
        assert text_of((await gateway.post(stream=True)).body) == "Good day"
        gateway.provider.enqueue(Script(events=[message(None, "tool_calls", tool_calls=[CALL]), DONE]))
        chunk = json.loads(Splitter().feed((await gateway.post(stream=True)).body)[0].data)
        assert chunk["choices"][0]["delta"]["tool_calls"] == [{"index": 0, **CALL}]


async def test_fragments_of_calls_without_an_index_get_one(behind):
    calls = [("a", "time", '{"tz":'), (None, None, '"JST"}'), ("b", "weather", "{}")]
    fragments = [{"id": i, "type": "function", "function": {"name": n, "arguments": a}} for i, n, a in calls]
    events = [
        event(choices=[{"index": 0, "delta": {"tool_calls": [each]}, "finish_reason": None}]) for each in fragments
    ]
    end = says(None, "tool_calls")
    async with behind() as gateway:
        gateway.provider.enqueue(Script(events=[*events, end, DONE]))
        body = (await gateway.post(stream=True)).body
    chunks = [json.loads(each.data)["choices"][0]["delta"] for each in Splitter().feed(body)[:3]]
    assert [each["tool_calls"] for each in chunks] == [
        [{**fragment, "index": index}] for fragment, index in zip(fragments, (0, 0, 1), strict=True)
    ]
    assert body.endswith(end + DONE)


@pytest.mark.parametrize(
    ("choice", "status"),
    [({"finish_reason": "error"}, 502), ({"finish_reason": "network_error"}, 502),
     ({"finish_reason": "error", "error": {"code": 429, "message": "slow down"}}, 429)],
)  # fmt: skip
async def test_a_plain_answer_of_a_model_that_failed_is_a_failure(behind, choice, status):
    failed = {**ANSWER, "choices": [{**ANSWER["choices"][0], **choice}]}
    async with behind() as gateway:
        gateway.provider.enqueue(Script(body=failed))
        assert (await gateway.post()).status == status


async def test_an_error_beside_choices_is_one_in_a_plain_answer_too(behind):
    async with behind() as gateway:
        gateway.provider.enqueue(Script(body={**ANSWER, "error": {"code": 429, "message": "slow down"}}))
        assert (await gateway.post()).status == 429
        gateway.provider.enqueue(Script(body={**ANSWER, "error": {"code": None, "message": ""}}))
        assert (await gateway.post()).status == 200


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "choice",
    [
        {"delta": {"role": "assistant", "content": ""}, "finish_reason": None},
        {"message": None, "finish_reason": "stop"},
    ],
)
async def test_a_choice_without_a_message_is_no_whole_answer(behind, stream, choice):
    chunk = {"id": "c", "choices": [{"index": 0, **choice}]}
    async with behind() as gateway:
        gateway.provider.enqueue(Script(body=json.dumps(chunk).encode() + b"\n{}", content_type="application/json"))
        answer = await gateway.post(stream=stream)
        assert (answer.status, json.loads(answer.body)["error"]["code"]) == (502, "upstream_malformed")


async def test_a_choice_that_never_began_is_an_error(behind):
    async with behind() as gateway:
        gateway.provider.enqueue(Script(events=[says("first"), says(None, "stop"), DONE]))
        assert b"upstream_incomplete" in (await gateway.post(stream=True, n=2)).body


async def test_chunks_that_openais_sdks_cannot_read_are_made_readable(behind):
    odd = [
        says("Good", "null"),
        event(choices=[{"index": 0, "delta": None, "finish_reason": "stop"}]),
        event(choices=[{"index": 0, "finish_reason": None, "content_filter_results": {}}]),
        event(usage=ANSWER["usage"]),
        DONE,
    ]
    async with behind() as gateway:
        gateway.provider.enqueue(Script(events=odd))
        answer = await gateway.post(stream=True, stream_options={"include_usage": True})
        chunks = [json.loads(line[6:]) for line in answer.body.split(b"\n") if line.startswith(b"data: {")]
        assert all(isinstance(choice["delta"], dict) for chunk in chunks for choice in chunk["choices"])
        assert [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]] == [None, "stop", None]
        assert chunks[-1]["usage"] == ANSWER["usage"]


async def test_a_failure_before_the_first_token_goes_to_the_next_deployment(serve):
    import aiohttp

    from crplugins.homes.gateway.app import Gateway
    from tests.gateway_setup import CLIENT_KEY, HELLO

    broken = [
        Script(events=[*NOISE, event(error={"message": "no", "code": 503})]),
        Script(events=NOISE),
        Script(events=[*NOISE, says(None, "error")]),
        Script(body={"choices": []}),
        Script(body=b"<html>", content_type="text/html"),
    ]
    async with FakeProvider() as first, FakeProvider() as second:
        for script in broken:
            models = [
                {
                    "model_name": "m",
                    "handler": "direct",
                    "litellm_params": {"model": "openai/x", "api_base": p.base_url},
                    "num_retries": 0,
                }
                for p in (first, second)
            ]
            first.enqueue(script)
            second.enqueue(Script(events=WHOLE))
            keys = [{"id": "team-a", "secret": CLIENT_KEY}]
            async with serve(Gateway(model_list=models, keys=keys)) as url, aiohttp.ClientSession() as session:
                headers = {"authorization": f"Bearer {CLIENT_KEY}"}
                body = {"model": "m", "messages": HELLO, "stream": True}
                async with session.post(url + "/v1/chat/completions", json=body, headers=headers) as response:
                    assert text_of(await response.read()) == "Good day", script
