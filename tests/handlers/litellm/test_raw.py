"""RawStream: past litellm's wrapper where that is possible, through it where not."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from crplugins.handlers.litellm.stream import RawStream, is_readable
from crplugins.handlers.litellm.tap import Tap, hang_up

CHUNK = {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}]}


class Wrapper:
    """litellm's stream wrapper, as far as RawStream knows it: it can read `odd` items and makes up an end."""

    def __init__(self, stream: Any, *, finish: str | None = None, usage: Any = None) -> None:
        self.completion_stream = None if callable(stream) else stream
        self._late = stream if callable(stream) else None
        self.received_finish_reason: str | None = None
        self.intermittent_finish_reason = None
        self.chunks: list[Any] = []
        self.closed = False
        self._finish, self._usage = finish, usage

    async def fetch_stream(self) -> None:
        self.completion_stream = self._late()

    async def __aiter__(self) -> Any:
        async for item in self.completion_stream:
            yield self._item(item["odd"], None)
        self.received_finish_reason = self._finish
        self.chunks = [SimpleNamespace(usage=self._usage)]
        yield self._item("", self._finish or "stop", usage=self._usage or "invented")

    def _item(self, text: str, finish: str | None, usage: Any = None) -> Any:
        choice = SimpleNamespace(delta=SimpleNamespace(content=text), finish_reason=finish, index=0)
        return SimpleNamespace(choices=[choice], usage=usage)

    async def aclose(self) -> None:
        self.closed = True


async def items(*given: Any) -> Any:
    for item in given:
        yield item


async def test_readable_items_go_past_the_wrapper():
    assert [item async for item in RawStream(Wrapper(items(None, CHUNK, CHUNK)))] == [CHUNK, CHUNK]


async def test_a_request_that_goes_out_late_is_waited_for():
    assert [item async for item in RawStream(Wrapper(lambda: items(CHUNK)))] == [CHUNK]


async def test_odd_items_go_through_the_wrapper():
    raw = RawStream(Wrapper(items({"odd": "a"}, {"odd": "b"}), finish="length", usage={"prompt_tokens": 1}))
    read = [item async for item in raw]
    assert [item.choices[0].delta.content for item in read] == ["a", "b", ""]
    assert read[-1].choices[0].finish_reason == "length"
    assert read[-1].usage == {"prompt_tokens": 1}
    assert raw.tap.ended


async def test_an_end_and_usage_the_wrapper_made_up_are_taken_out():
    raw = RawStream(Wrapper(items({"odd": "a"})))
    read = [item async for item in raw]
    assert read[-1].choices[0].finish_reason is None
    assert read[-1].usage is None
    assert not raw.tap.ended


async def test_an_empty_stream_is_empty():
    assert [item async for item in RawStream(Wrapper(items()))] == []


async def test_closing_ends_an_iterator_over_lines_that_litellm_forgets():
    class Response:
        closed = False

        async def aiter_lines(self) -> Any:
            while True:
                yield 'data: {"choices": []}'
                await asyncio.sleep(0)

        async def aclose(self) -> None:
            self.closed = True

    class Iterator:  # like Anthropic's: holds the lines, not the response
        def __init__(self, lines: Any) -> None:
            self.streaming_response = lines

        def __aiter__(self) -> Any:
            return self

        async def __anext__(self) -> Any:
            await anext(self.streaming_response)
            return CHUNK

    response = Response()
    wrapper = Wrapper(Iterator(response.aiter_lines()))
    raw = RawStream(wrapper)
    assert await anext(raw) == CHUNK
    await raw.aclose()
    assert response.closed
    assert wrapper.closed


async def test_hanging_up_on_something_else_does_nothing():
    for stream in (None, items(), object(), SimpleNamespace(response=None)):
        await hang_up(stream)


@pytest.mark.parametrize("item", [{"odd": 1}, "text", b"bytes", SimpleNamespace(choices=[SimpleNamespace(text="a")])])
def test_other_shapes_are_not_readable(item):
    assert not is_readable(item)


class Parser:
    """litellm's base iterator: lines in, objects out, [DONE] and comments as generic chunks."""

    def chunk_parser(self, chunk: Any) -> Any:
        return ("parsed", chunk)

    def _handle_string_chunk(self, str_line: str) -> Any:
        import json

        try:
            return self.chunk_parser(chunk=json.loads(str_line.removeprefix("data:")))
        except ValueError:
            return {"text": "", "is_finished": "[DONE]" in str_line}


def watched(parser: Any) -> tuple[Any, Tap]:
    tap = Tap()
    tap.attach(parser)
    return parser, tap


def test_the_end_mark_is_seen_and_not_taken_for_a_finish_reason():
    parser, tap = watched(Parser())
    assert parser._handle_string_chunk(str_line="data: [DONE]") is None
    assert tap.done


def test_text_that_names_the_end_mark_is_text():
    parser, tap = watched(Parser())
    assert parser._handle_string_chunk(str_line='data: {"a":"[DONE]"}') == ("parsed", {"a": "[DONE]"})
    assert not tap.done


def test_an_error_is_kept_with_the_usage_beside_it():
    parser, tap = watched(Parser())
    parser._handle_string_chunk(str_line='data: {"error":{"code":400},"usage":{"prompt_tokens":43}}')
    assert (tap.error, tap.usage) == ({"code": 400}, {"prompt_tokens": 43})


def test_the_providers_own_json_is_read_where_litellms_parser_only_renames():
    class GroqChatCompletionStreamingHandler(Parser):
        pass

    parser, _ = watched(GroqChatCompletionStreamingHandler())
    assert parser.chunk_parser(chunk={"a": 1, "choices": []}) == {"a": 1, "choices": []}
    assert parser.chunk_parser(chunk={"a": 1}) is None


def test_anthropics_end_mark_is_seen():
    parser, tap = watched(Parser())
    parser.chunk_parser(chunk={"type": "message_stop"})
    assert tap.ended


def test_the_sdk_is_spared_building_models_but_only_of_chat_chunks():
    class ChatCompletionChunk:
        pass

    class Completion:
        pass

    for cast_to, becomes in ((ChatCompletionChunk, object), (Completion, Completion)):
        stream, _ = watched(SimpleNamespace(_decoder=None, _cast_to=cast_to))
        assert stream._cast_to is becomes
