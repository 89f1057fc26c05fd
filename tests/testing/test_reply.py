import json
from typing import Any

import pytest

from crplugins.testing import Script, usage_object
from crplugins.testing.reply import ProviderReply, reply_to

HELLO = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
ASKING = {**HELLO, "stream": True, "stream_options": {"include_usage": True}}


def reply(script: Script, request: Any = None) -> ProviderReply:
    return reply_to(script, HELLO if request is None else request, id="chatcmpl-1", created=1)


def usages(script: Script, request: dict[str, Any]) -> list[Any]:
    """The `usage` of each chunk; "-" where the key is absent."""
    frames = reply(script, request).frames
    if not request.get("stream"):
        return [json.loads(frames[0]).get("usage", "-")]
    return [json.loads(frame[6:]).get("usage", "-") for frame in frames[:-1]]


def test_a_script_that_says_nothing_is_the_fake_model() -> None:
    full, stream = reply(Script()), reply(Script(), {**HELLO, "stream": True})
    assert (full.status, full.streamed, len(full.frames)) == (200, False, 1)
    assert (stream.streamed, stream.frames[-1]) == (True, b"data: [DONE]\n\n")
    assert stream.headers == [("content-type", "text/event-stream; charset=utf-8")]


def test_a_plain_body_is_sent_whatever_was_asked() -> None:
    assert reply(Script(body={"a": "ü"}), ASKING).frames == ('{"a":"ü"}'.encode(),)
    assert reply(Script(body=b"<html>", content_type="text/html")).headers == [("content-type", "text/html")]
    assert reply(Script(body=b"", headers={"Content-Type": "x/y"})).headers == [("content-type", "x/y")]


def test_events_are_sent_as_they_are() -> None:
    assert reply(Script(events=[b"data: 1\n\n"])).frames == (b"data: 1\n\n",)


def test_an_error_status_alone_gives_an_error_object() -> None:
    assert json.loads(reply(Script(status=503)).frames[0])["error"]["type"] == "server_error"


def test_usage_is_given_where_the_script_says() -> None:
    streamed = {**HELLO, "stream": True}
    assert set(usages(Script(), streamed)) == {"-"}
    assert usages(Script(), ASKING)[:-1] == [None] * 5
    assert usages(Script(usage="on"), streamed)[-1]["total_tokens"] == 8
    assert set(usages(Script(usage="off"), ASKING)) == {"-"}
    assert usages(Script(usage="off"), HELLO) == ["-"]
    assert usages(Script(usage="in_finish_chunk"), streamed)[:-1] == ["-"] * 4
    assert usages(Script(usage="in_finish_chunk"), streamed)[-1]["total_tokens"] == 8
    numbers = usage_object(12, 4)
    assert usages(Script(usage_object=numbers), ASKING)[-1] == numbers


@pytest.mark.parametrize("status", [400, 422])
def test_stream_options_are_refused_by_name_and_other_requests_answered(status: int) -> None:
    script = Script(refuse_stream_options=status)
    refused = reply(script, ASKING)
    assert refused.status == status
    assert b"stream_options" in refused.frames[0]
    assert reply(script, {**HELLO, "stream": True}).status == 200


def test_a_malformed_frame_stands_between_whole_ones() -> None:
    frames = reply(Script(malformed_after=2), ASKING).frames
    assert len(frames) == len(reply(Script(), ASKING).frames) + 1
    with pytest.raises(json.JSONDecodeError):
        json.loads(frames[2][6:])


def test_what_is_not_a_chat_request_is_refused() -> None:
    assert reply_to(Script(), None, id="x", created=1).status == 400
