"""StreamUsage before a foreign app: what the app is asked, and what the client sees."""

import json
from typing import Any

import pytest

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.core.exchange import Exchange
from crplugins.core.plugin import Plugin
from crplugins.core.sse import Event
from crplugins.core.wire import AnswerFacts, read_answer
from crplugins.plugins.stream_usage import StreamUsage
from crplugins.testing import FrozenClock, drive
from tests.core.doubles import CHUNK, DONE, JSON, STOP, App, Watcher, messages

USAGE = b'data: {"id":"c","object":"chat.completion.chunk","model":"m","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}\n\n'
NULL = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"a"}}],"usage":null}\n\n'
NULL_AND_MORE = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}],"usage":null,"obfuscation":"xyz"}\n\n'
REFUSAL = b'{"error":{"message":"Unknown parameter: stream_options","type":"invalid_request_error"}}'


def ask(**more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True, **more}


ASKING = ask(stream_options={"include_usage": True})


class Facts(Plugin):
    """What a plugin further out is told of each event, and what stands in its bytes."""

    reads_events = True

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.read: list[Any] = []

    def on_event(self, exchange: Exchange, event: Event) -> None:
        if event.answer is not None:
            self.told.append(self._facts(event.answer))
            self.read.append(self._facts(read_answer(event.data or b"")))

    def _facts(self, answer: AnswerFacts) -> Any:
        return answer.model, answer.choices, answer.usage, answer.counted, answer.error


async def through(*frames: bytes, body: Any = None, plugin: StreamUsage | None = None) -> tuple[bytes, dict[str, Any]]:
    """What the client reads of `frames`, and the body the app was given."""
    app, further_out = App(*frames), Facts()
    answer = await drive(PluginMiddleware(app, plugins=[further_out, plugin or StreamUsage()]), body=body or ask())
    assert further_out.told == further_out.read
    return answer.body, json.loads(app.bodies[-1])


@pytest.mark.parametrize(
    "options", [{}, {"include_usage": False}, {"include_usage": None}, {"include_obfuscation": False}, None]
)
async def test_every_stream_is_asked_for_usage_and_keeps_its_other_options(options: Any) -> None:
    _, sent = await through(CHUNK, STOP, DONE, body=ask(stream_options=options))
    assert sent["stream_options"] == {**(options or {}), "include_usage": True}


async def test_a_stream_without_options_is_asked_and_every_other_byte_of_the_request_is_kept() -> None:
    app = App()
    body = b'{"stream" : true, "seed": 123456789012345678901234567890, "model":"m","messages":[ ]}'
    await drive(PluginMiddleware(app, plugins=[StreamUsage()]), body=body)
    assert app.bodies == [body[:-1] + b',"stream_options":{"include_usage":true}}']


@pytest.mark.parametrize("stream", [False, None])
async def test_a_plain_request_is_left_alone(stream: Any) -> None:
    app = App(b'{"choices":[],"usage":{"prompt_tokens":3}}', content_type=JSON)
    answer = await drive(PluginMiddleware(app, plugins=[StreamUsage()]), body=ask(stream=stream))
    assert "stream_options" not in json.loads(app.bodies[0])
    assert json.loads(answer.body)["usage"] == {"prompt_tokens": 3}


@pytest.mark.parametrize("options", ["x", [], 7])
async def test_options_of_another_shape_are_for_the_app_to_refuse(options: Any) -> None:
    body, sent = await through(CHUNK, USAGE, DONE, body=ask(stream_options=options))
    assert sent["stream_options"] == options
    assert body == CHUNK + DONE


async def test_a_client_that_did_not_ask_sees_no_usage_of_any_spelling() -> None:
    frames = [NULL, NULL_AND_MORE, CHUNK, STOP, USAGE, DONE]
    body, _ = await through(*frames)
    assert body == (
        b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
        b'data: {"choices":[{"index":0,"delta":{"content":"a"}}],"obfuscation":"xyz"}\n\n' + CHUNK + STOP + DONE
    )


@pytest.mark.parametrize(
    ("chunk", "left"),
    [
        # inside the finish chunk (DeepSeek, Mistral)
        ('{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2},"id":"c"}',
         '{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"id":"c"}'),
        # twice, once in Groq's own place
        ('{"choices":[{"index":0,"delta":{"content":"x"}}],"x_groq":{"id":"r","usage":{"prompt_tokens":1,"completion_tokens":1}},"usage":{"prompt_tokens":1,"completion_tokens":1}}',
         '{"choices":[{"index":0,"delta":{"content":"x"}}],"x_groq":{"id":"r"}}'),
        # beside an error (OpenRouter)
        ('{"choices":[],"error":{"message":"m"},"usage":{"prompt_tokens":1,"completion_tokens":2}}',
         '{"choices":[],"error":{"message":"m"}}'),
        # beside something else worth reading
        ('{"choices":[],"moderation":{"flagged":false},"usage":{"prompt_tokens":1,"completion_tokens":2}}',
         '{"choices":[],"moderation":{"flagged":false}}'),
        # no usage chunk: nothing is counted in it
        ('{"choices":[],"prompt_filter_results":[{"x":1}],"usage":null}', '{"choices":[],"prompt_filter_results":[{"x":1}]}'),
        # words of the model
        ('{"choices":[{"index":0,"delta":{"content":"the \\"usage\\":null of it"}}]}', None),
        ('{"choices":[{"index":0,"delta":{"content":"usage"}}],"usage": null}', '{"choices":[{"index":0,"delta":{"content":"usage"}}]}'),
        # a key of that name deeper down is somebody else's
        ('{"choices":[{"index":0,"delta":{"a":1,"usage":null}}]}', None),
        ('{"x":{"a":1,"usage":null},"choices":[{"index":0,"delta":{"content":"x"}}]}', None),
        ('{"usage":null,"choices":[{"index":0,"delta":{"content":"x"}}]}', '{"choices":[{"index":0,"delta":{"content":"x"}}]}'),
    ],
)  # fmt: skip
async def test_usage_is_taken_out_without_touching_what_it_stands_beside(chunk: str, left: str | None) -> None:
    body, _ = await through(b"data: " + chunk.encode() + b"\n\n", DONE)
    assert body == b"data: " + (left or chunk).encode() + b"\n\n" + DONE


async def test_the_empty_choice_of_a_litellm_proxy_is_a_usage_chunk_too() -> None:
    chunk = b'data: {"choices":[{"index":0,"delta":{}}],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n'
    body, _ = await through(CHUNK, STOP, chunk, DONE)
    assert body == CHUNK + STOP + DONE


async def test_a_client_that_asked_gets_the_stream_as_it_is() -> None:
    frames = [NULL, STOP, USAGE, b'data: {"choices":[],"moderation":{}}\n\n', DONE]
    body, sent = await through(*frames, body=ASKING)
    assert body == b"".join(frames)
    assert sent == ASKING


async def test_the_timings_of_llama_cpp_do_not_make_its_usage_chunk_worth_reading() -> None:
    chunk = (
        b'data: {"choices":[],"created":1,"id":"c","model":"m","system_fingerprint":"b1","object":"chat.completion.chunk",'
        b'"usage":{"completion_tokens":3,"prompt_tokens":24},"timings":{"prompt_n":24,"predicted_n":3}}\n\n'
    )
    body, _ = await through(CHUNK, STOP, chunk, DONE)
    assert body == CHUNK + STOP + DONE


def counting(content: str, tokens: int, **choice: Any) -> bytes:
    usage = {"prompt_tokens": 3, "completion_tokens": tokens}
    delta = {"content": content} if content else {}
    chunk = {"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta, **choice}], "usage": usage}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def usages(body: bytes) -> list[Any]:
    chunks = [json.loads(line[6:]) for line in body.decode().split("\n") if line.startswith("data: {")]
    return [chunk["usage"] for chunk in chunks if chunk.get("usage") is not None]


@pytest.mark.parametrize(
    "tail",
    [
        [counting("", 4, finish_reason="stop")],
        [counting("", 4, finish_reason="stop"), USAGE],
        [STOP, USAGE],
        [counting("c", 4), STOP],
    ],
)
async def test_running_counts_are_reduced_to_the_last(tail: list[bytes]) -> None:
    body, _ = await through(counting("a", 1), counting("b", 2), *tail, DONE, body=ASKING)
    assert usages(body) == [{"prompt_tokens": 3, "completion_tokens": 4}]
    assert body.endswith(DONE)
    assert b'"content": "a"' in body


@pytest.mark.parametrize(
    "usage", [{"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, {"prompt_tokens": None}]
)
async def test_usage_that_counts_nothing_does_not_hide_the_real_one_behind_it(usage: Any) -> None:
    empty = [
        b"data: " + json.dumps({"id": "c", "choices": choices, "usage": usage}).encode() + b"\n\n"
        for choices in (
            [{"index": 0, "delta": {"content": "a"}}],
            [{"index": 0, "delta": {}, "finish_reason": "stop"}],
            [],
        )
    ]
    body, _ = await through(*empty, USAGE, DONE, body=ASKING)
    assert usages(body) == [{"prompt_tokens": 3, "completion_tokens": 4}]
    assert body.endswith(USAGE + DONE)
    body, _ = await through(*empty, DONE, body=ASKING)
    assert usages(body) == []


@pytest.mark.parametrize(
    "frames",
    [
        [counting("a", 1, finish_reason="stop"), counting("b", 2, finish_reason="stop"), counting("c", 4, finish_reason="stop")],
        [USAGE.replace(b"4", b"0"), CHUNK, STOP, USAGE],
        [CHUNK, USAGE, STOP],
    ],
)  # fmt: skip
async def test_the_last_count_is_shown_also_where_each_chunk_looks_like_the_last_one(frames: list[bytes]) -> None:
    body, _ = await through(*frames, DONE, body=ASKING)
    assert usages(body) == [{"prompt_tokens": 3, "completion_tokens": 4}]
    assert body.endswith(DONE)


async def test_half_an_emoji_in_a_chunk_that_counts_arrives() -> None:
    frames = [counting("\ud83d", 1), counting("\ude00", 2), counting("", 4, finish_reason="stop"), DONE]
    for body in (ask(), ASKING):
        read, _ = await through(*frames, body=body)
        chunks = [json.loads(line[6:]) for line in read.decode().split("\n") if line.startswith("data: {")]
        said = [choice["delta"].get("content") for chunk in chunks for choice in chunk["choices"]]
        assert said == ["\ud83d", "\ude00", None]
        assert usages(read) == ([] if body != ASKING else [{"prompt_tokens": 3, "completion_tokens": 4}])


async def test_of_counts_per_choice_the_client_sees_the_sum_behind_them() -> None:
    frames = [counting("x", 1), counting("", 1, finish_reason="stop"), counting("", 2, finish_reason="stop", index=1)]
    body, _ = await through(*frames, USAGE, DONE, body=ask(n=2, stream_options={"include_usage": True}))
    assert usages(body) == [{"prompt_tokens": 3, "completion_tokens": 4}]
    assert body.endswith(USAGE + DONE)


async def test_with_several_choices_the_last_one_that_ends_has_the_usage() -> None:
    first = STOP
    last = counting("", 4, finish_reason="stop", index=1)
    body, _ = await through(CHUNK, first, last, DONE, body=ask(n=2, stream_options={"include_usage": True}))
    assert usages(body) == [{"prompt_tokens": 3, "completion_tokens": 4}]
    assert body.endswith(last + DONE)


@pytest.mark.parametrize("place", ["choice", "x_groq"])
async def test_usage_in_another_place_is_shown_where_clients_look_for_it_and_to_who_asked_alone(place: str) -> None:
    used = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
    choice: dict[str, Any] = {"index": 0, "delta": {}, "finish_reason": "stop"}
    chunk = {"id": "k", "choices": [choice | ({"usage": used} if place == "choice" else {})]}
    chunk |= {"x_groq": {"usage": used}} if place == "x_groq" else {}
    inside = b"data: " + json.dumps(chunk).encode() + b"\n\n"
    shown, _ = await through(inside, DONE, body=ask(stream_options={"include_usage": True}))
    assert usages(shown)[-1] == used
    assert shown.startswith(inside)
    hidden, _ = await through(inside, DONE, body=ask())
    assert b"prompt_tokens" not in hidden
    assert b'"finish_reason":"stop"' in hidden.replace(b" ", b"")


async def test_who_asked_for_running_counts_gets_them() -> None:
    frames = [counting("a", 1), counting("b", 2), STOP, USAGE, DONE]
    options = {"include_usage": True, "continuous_usage_stats": True}
    body, _ = await through(*frames, body=ask(stream_options=options))
    assert body == b"".join(frames)


@pytest.mark.parametrize("body", [ask(), ASKING])
async def test_plugins_further_out_know_the_usage_whatever_the_client_sees(body: Any) -> None:
    watcher = Watcher()
    await drive(PluginMiddleware(App(CHUNK, STOP, USAGE, DONE), plugins=[watcher, StreamUsage()]), body=body)
    assert (watcher.exchange.usage.input_tokens, watcher.exchange.usage_source) == (3, "provider")


class Refusing(App):
    """Refuses `stream_options`, and answers other requests."""

    def __init__(self, status: int = 400, body: bytes = REFUSAL) -> None:
        super().__init__()
        self._refusal = messages(body, status=status, content_type=JSON)
        self._answer = self.sends

    async def _read(self, receive: Any) -> None:
        await super()._read(receive)
        self.sends = self._refusal if b"stream_options" in self.bodies[-1] else self._answer


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("body", [ask(), ASKING, ask(stream_options={})])
async def test_an_app_that_refuses_stream_options_is_asked_once_more_without(status: int, body: Any) -> None:
    app = Refusing(status)
    answer = await drive(PluginMiddleware(app, plugins=[StreamUsage()]), body=body)
    assert (answer.status, answer.body) == (200, CHUNK + STOP + DONE)
    assert [b"stream_options" in body for body in app.bodies] == [True, False]
    assert dict(app.headers[1])[b"content-length"] == str(len(app.bodies[1])).encode()


async def test_the_refusal_is_remembered_for_its_time_and_for_that_model_alone() -> None:
    clock, app = FrozenClock(), Refusing()
    served = PluginMiddleware(app, plugins=[StreamUsage(remember_seconds=60)], clock=clock)
    for _ in range(2):
        await drive(served, body=ask())
    assert len(app.bodies) == 3
    await drive(served, body=ask(model="other"))
    assert len(app.bodies) == 5
    clock.advance(61)
    await drive(served, body=ask())
    assert len(app.bodies) == 7


async def test_the_refusal_of_a_clients_own_option_reaches_it_and_costs_nobody_else() -> None:
    app = Refusing()
    served = PluginMiddleware(app, plugins=[StreamUsage()])
    answer = await drive(served, body=ask(stream_options={"include_obfuscation": "broken"}))
    assert (answer.status, answer.body) == (400, REFUSAL)
    await drive(served, body=ask())
    assert b"stream_options" in app.bodies[1]


class Naming(App):
    """Refuses a parameter by its name, in words that a client has chosen."""

    def __init__(self, parameter: bytes, *, beside: bytes = b"") -> None:
        super().__init__()
        self._parameter, self._beside = parameter, beside
        self._answer = self.sends

    async def _read(self, receive: Any) -> None:
        await super()._read(receive)
        body = self.bodies[-1]
        text = b'{"error":{"message":"Unrecognized request argument supplied: ' + self._parameter + b'"}}'
        refused = b'"' + self._parameter + b'"' in body and self._beside in body
        self.sends = messages(text, status=400, content_type=JSON) if refused else self._answer


@pytest.mark.parametrize("parameter", ["xstream_options", "stream_options_x", "x-stream_options", "my stream_options"])
async def test_a_clients_own_parameter_does_not_end_the_metering_of_others(parameter: str) -> None:
    app = Naming(parameter.encode())
    served = PluginMiddleware(app, plugins=[StreamUsage()])
    refused = await drive(served, body=ask(**{parameter: 1}))
    assert (refused.status, parameter in refused.body.decode()) == (400, True)
    await drive(served, body=ask())
    assert b'"stream_options"' in app.bodies[-1]


async def test_what_is_refused_beside_a_clients_parameter_is_asked_for_without_it() -> None:
    app = Naming(b"stream_options", beside=b"data_sources")
    served = PluginMiddleware(app, plugins=[StreamUsage()])
    for asked in (2, 1):  # it is remembered for who sends that parameter
        before = len(app.bodies)
        assert (await drive(served, body=ask(data_sources=[]))).status == 200
        assert len(app.bodies) - before == asked
    await drive(served, body=ask())
    assert b'"stream_options"' in app.bodies[-1]


@pytest.mark.parametrize(("status", "body"), [(400, b'{"error":{"message":"no"}}'), (500, REFUSAL), (400, b"{}")])
async def test_other_refusals_pass_as_they_are(status: int, body: bytes) -> None:
    app = Refusing(status, body)
    answer = await drive(PluginMiddleware(app, plugins=[StreamUsage()]), body=ask())
    assert (answer.status, answer.body) == (status, body)
    assert len(app.bodies) == 1


async def test_an_app_is_asked_no_third_time() -> None:
    app = App(REFUSAL, status=400, content_type=JSON)
    answer = await drive(PluginMiddleware(app, plugins=[StreamUsage()]), body=ask())
    assert (answer.status, answer.body, len(app.bodies)) == (400, REFUSAL, 2)
