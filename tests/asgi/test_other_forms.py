"""Answers of an app in another form than the client asked for, or under a type that does not tell their form."""

import json

import pytest

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.core.sse import MAX_DOCUMENT_BYTES
from crplugins.testing import Answer, drive
from tests.core.doubles import ASK, CHUNK, DONE, EVENT_STREAM, JSON, STOP, App, Rewriter, Watcher, piece, start

PLAIN = ASK.replace(b"true", b"false")
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}\n\n'
DOCUMENT = (
    b'{"choices":[{"index":0,"message":{"role":"assistant","content":"a"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}'
)
UNCLEAR = ["text/plain", "application/json", "application/octet-stream", "text/plain; charset=utf-8"]


class Reader(Rewriter):
    """Rewrites events, and reads what the client asks for."""

    reads_body = True


class Observer(Watcher):
    reads_body = True


async def asked(app: App, plugin: Watcher, body: bytes = ASK) -> Answer:
    return await drive(PluginMiddleware(app, plugins=[plugin]), body=body)


def in_pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize("content_type", UNCLEAR)
@pytest.mark.parametrize("size", [1, 7, 10_000])
async def test_a_stream_is_known_by_its_bytes(content_type: str, size: int) -> None:
    stream = b": hello\n\n" + CHUNK + STOP + USAGE + DONE
    answer = await asked(App(*in_pieces(stream, size), content_type=content_type), reader := Reader())
    assert answer.body == stream
    assert answer.headers["content-type"].startswith(EVENT_STREAM)
    assert [event.answer is not None for event in reader.events] == [False, True, True, True, False]
    assert reader.exchange.usage is not None
    assert reader.exchange.usage.input_tokens == 3
    assert reader.ending == (200, "ok")


@pytest.mark.parametrize("content_type", UNCLEAR)
async def test_who_only_looks_sees_a_stream_too_and_changes_nothing(content_type: str) -> None:
    sent = [
        start(content_type=content_type),
        piece(CHUNK[:9]),
        piece(CHUNK[9:] + STOP),
        piece(USAGE + DONE, more=False),
    ]
    answer = await asked(App(sends=sent), watcher := Observer())
    assert answer.body == CHUNK + STOP + USAGE + DONE
    assert answer.headers["content-type"] == content_type
    assert watcher.exchange.usage is not None
    assert watcher.ending == (200, "ok")


async def test_who_has_not_read_the_request_goes_by_the_bytes() -> None:
    for content_type in ("text/plain", "application/json"):
        answer = await asked(App(CHUNK, STOP, DONE, content_type=content_type), watcher := Watcher(), PLAIN)
        assert answer.body == CHUNK + STOP + DONE
        assert watcher.ending == (200, "ok")


@pytest.mark.parametrize("content_type", [JSON, "text/plain"])
@pytest.mark.parametrize("size", [1, 40, 10_000])
async def test_a_document_where_a_stream_was_asked_becomes_one(content_type: str, size: int) -> None:
    app = App(*in_pieces(DOCUMENT, size), content_type=content_type)
    answer = await asked(app, reader := Reader())
    assert answer.headers["content-type"].startswith(EVENT_STREAM)
    assert "content-length" not in answer.headers
    assert answer.done
    assert answer.events()[0]["choices"][0]["delta"]["content"] == "a"
    assert reader.exchange.finish_reason == "stop"
    assert reader.exchange.usage is not None
    assert reader.ending == (200, "ok")


async def test_a_stream_where_a_document_was_asked_becomes_one() -> None:
    answer = await asked(App(CHUNK, STOP, USAGE, DONE), reader := Reader(), PLAIN)
    assert answer.headers["content-type"] == JSON
    assert answer.headers["content-length"] == str(len(answer.body))
    assert answer.json()["choices"][0]["message"]["content"] == "a"
    assert answer.json()["usage"]["prompt_tokens"] == 3
    assert [event.document for event in reader.events] == [True]
    assert reader.ending == (200, "ok")


@pytest.mark.parametrize(
    "stream", [(CHUNK,), (CHUNK, b'data: {"error": {"message": "no"}}\n\n', DONE)], ids=["cut", "error"]
)
async def test_a_broken_stream_where_a_document_was_asked_is_a_502(stream: tuple[bytes, ...]) -> None:
    answer = await asked(App(*stream), reader := Reader(), PLAIN)
    assert answer.status == 502
    assert answer.json()["error"]["message"]
    assert reader.ending == (502, "server_error")


async def test_a_stream_that_is_no_answer_passes_as_it_is() -> None:
    progress = b'data: {"progress": 1}\n\n'
    answer = await asked(App(progress), Reader(), PLAIN)
    assert (answer.status, answer.body) == (200, progress)


@pytest.mark.parametrize(
    "content", [b"Hello.", b"<p>Hello.</p>", b"", b"{", b'{"choices": []}', b'{"choices": null}', b"[]"]
)
@pytest.mark.parametrize("plugin", [Reader, Observer])
@pytest.mark.parametrize("body", [ASK, PLAIN], ids=["stream", "plain"])
async def test_a_success_that_is_no_completion_passes_and_is_recorded_as_a_failure(
    content: bytes, plugin: type[Watcher], body: bytes
) -> None:
    answer = await asked(App(content, content_type=JSON), seen := plugin(), body)
    assert (answer.status, answer.body) == (200, content)
    assert seen.ending == (200, "server_error")
    assert seen.exchange.error_type == "upstream_stream_broken"


@pytest.mark.parametrize("others", [0, 1])
@pytest.mark.parametrize("reason", ["error", "abort", "MALFORMED_FUNCTION_CALL"])
async def test_a_document_whose_model_has_failed_passes_and_is_recorded_as_a_failure(reason: str, others: int) -> None:
    failed = {"index": 0, "message": {"content": "Hel"}, "finish_reason": reason}
    beside = [{**failed, "index": 1, "finish_reason": "stop"}] * others
    content = json.dumps({"choices": [failed, *beside]}).encode()
    answer = await asked(App(content, content_type=JSON), seen := Observer(), PLAIN)
    assert (answer.status, answer.body) == (200, content)
    assert seen.ending == (200, "server_error")


async def test_another_path_may_answer_what_it_likes() -> None:
    app = App(b'{"data": []}', content_type=JSON)
    await drive(PluginMiddleware(app, plugins=[seen := Observer()]), path="/v1/other", body=ASK)
    assert not seen.exchanges or seen.ending == (200, "ok")


@pytest.mark.parametrize("plugin", [Reader, Observer])
async def test_the_events_of_another_path_are_not_judged_by_what_a_chat_completion_says(plugin: type[Watcher]) -> None:
    class Everywhere(plugin):  # type: ignore[misc,valid-type]
        every_path = True

    events = (b'event: thread.run.created\ndata: {"type": "created"}\n\n', b'data: {"type": "ping"}\n\n', DONE)
    answer = await drive(PluginMiddleware(App(*events), plugins=[seen := Everywhere()]), path="/v1/runs", body=ASK)
    assert answer.body == b"".join(events)
    assert [event.raw for event in seen.events] == list(events)
    assert seen.ending == (200, "ok")


@pytest.mark.parametrize("begins", [b"{", b"data: "], ids=["document", "stream"])
async def test_what_must_be_held_as_a_whole_is_bounded(begins: bytes) -> None:
    piece_of_it = b"x" * (MAX_DOCUMENT_BYTES // 4)
    body = ASK if begins == b"{" else PLAIN
    answer = await asked(App(begins, *[piece_of_it] * 5, content_type=JSON), seen := Reader(), body)
    assert answer.status == 500
    assert seen.ending == (500, "server_error")


# Streams that are judged by what they say.


@pytest.mark.parametrize("plugin", [Reader, Observer])
async def test_a_cut_behind_its_end_mark_is_recorded(plugin: type[Watcher]) -> None:
    cut = b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}\n\n'
    answer = await asked(App(cut, DONE), seen := plugin())
    assert seen.ending == (200, "server_error")
    assert seen.exchange.error_type == "upstream_stream_broken"
    assert (b'"error"' in answer.body) == (plugin is Reader)


@pytest.mark.parametrize("reason", ["", "null", "error", "abort"])
async def test_a_reason_that_is_none_ends_nothing(reason: str) -> None:
    chunk = CHUNK.replace(b"}]}", b',"finish_reason":%s}]}' % json.dumps(reason).encode())
    answer = await asked(App(chunk, DONE), seen := Reader())
    assert b'"code":"upstream_incomplete"' in answer.body
    assert seen.exchange.finish_reason is None


async def test_a_missing_choice_is_a_cut() -> None:
    two = ASK.replace(b'"stream"', b'"n": 2, "stream"')
    assert b"upstream_incomplete" in (await asked(App(CHUNK, STOP, DONE), Reader(), two)).body


async def test_heartbeats_and_what_follows_the_end_reach_nobody() -> None:
    noise = b'data: {}\n\nevent: ping\ndata: {"type": "ping"}\n\nretry: 3\n\nid: 7\n\ndata:\n\n'
    app = App(noise + CHUNK + noise, STOP + noise + b'data: "[DONE]" \n\n' + CHUNK + b"data: {oops\n\n")
    answer = await asked(app, seen := Reader())
    assert answer.body == CHUNK + STOP + DONE
    assert [event.raw for event in seen.events] == [CHUNK, STOP, DONE]
    assert seen.ending == (200, "ok")


async def test_nothing_behind_a_complete_answer_makes_it_a_failure() -> None:
    late = b'data: {"error": {"message": "too late"}}\n\n'
    answer = await asked(App(CHUNK, STOP, late, b"data: {oops\n\n"), seen := Reader())
    assert answer.body == CHUNK + STOP
    assert seen.ending == (200, "ok")
