"""HoldBack: whatever a stream cuts in two is seen whole, per choice, and nothing leaks, is lost or changes its place."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crplugins import Event, Exchange, GatewayError, HoldBack, Plugin, PluginMiddleware
from crplugins.testing import drive
from tests.core.doubles import JSON, App

SSE = "text/event-stream"

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,64}\.[\w.-]{1,64}")
HEAD = {"id": "c1", "object": "chat.completion.chunk", "created": 7, "model": "m"}


class Redact(Plugin):
    rewrites_events = True

    def __init__(self):
        self._text = HoldBack(self._settle)

    def on_event(self, exchange: Exchange, event: Event):
        return self._text.event(exchange, event)

    def on_end(self, exchange: Exchange):
        return self._text.rest(exchange)

    def on_cut(self, exchange: Exchange):
        return self._text.rest(exchange)

    @staticmethod
    def _settle(text, *, last):
        start = len(text) if last else len(text) - len(re.split(r"\s", text)[-1])
        return EMAIL.sub("[e-mail]", text[:start]), text[start:]


def chunk(*choices, **more):
    return f"data: {json.dumps({**HEAD, 'choices': list(choices), **more})}\n\n".encode()


def said(text=None, index=0, finish=None, **delta):
    return {"index": index, "delta": ({} if text is None else {"content": text}) | delta, "finish_reason": finish}


DONE = b"data: [DONE]\n\n"


async def through(*events, plugins=None, whole=True, content_type=SSE):
    """The frames that a client gets, decoded; `[DONE]` as such."""
    app = App(*events, content_type=content_type) if whole else Cut(*events)
    answer = await drive(PluginMiddleware(app, plugins=plugins or [Redact()]), body=CHAT)
    if content_type == JSON:
        return json.loads(answer.body)
    frames = [frame.removeprefix("data: ") for frame in answer.body.decode().split("\n\n") if frame]
    return [frame if frame == "[DONE]" else json.loads(frame) for frame in frames]


class Cut:
    """An app whose stream ends without an end."""

    def __init__(self, *events, raises=None):
        self._events, self._raises = events, raises

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", SSE.encode())]})
        for event in self._events:
            await send({"type": "http.response.body", "body": event, "more_body": True})
        if self._raises is not None:
            raise self._raises
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def texts(frames):
    """By choice what a client puts together."""
    found = {}
    for frame in frames:
        for choice in frame["choices"] if isinstance(frame, dict) and "choices" in frame else ():
            found[choice["index"]] = found.get(choice["index"], "") + (choice["delta"].get("content") or "")
    return found


@pytest.mark.parametrize("cut", range(1, len("write to ann@example.com now")))
async def test_a_pattern_is_found_wherever_it_is_cut(cut):
    text = "write to ann@example.com now"
    frames = await through(chunk(said(text[:cut])), chunk(said(text[cut:])), chunk(said(finish="stop")), DONE)
    assert texts(frames) == {0: "write to [e-mail] now"}
    assert [frame["choices"][0]["finish_reason"] for frame in frames[:-1]] == [None, None, "stop"]


@given(st.lists(st.tuples(st.integers(0, 2), st.text("ab@.c \n", max_size=8)), max_size=25), st.booleans())
async def test_each_choice_is_what_its_whole_text_would_be(pieces, finishes):
    events = [chunk(said(text, index)) for index, text in pieces]
    indexes = {index for index, _ in pieces} | {0}
    events += [chunk(said(index=index, finish="stop")) for index in indexes] if finishes else []
    whole = {index: "".join(text for at, text in pieces if at == index) for index in indexes}
    frames = await through(*events, chunk(said(index=0, finish="stop")), DONE, plugins=[Redact()])
    assert texts(frames) == {index: EMAIL.sub("[e-mail]", text) for index, text in whole.items()}
    assert frames[-1] == "[DONE]"


async def test_the_text_comes_before_its_finish_reason_and_usage_stays_behind_it():
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    frames = await through(
        chunk(said("a b@c.d", 0)), chunk(said("e f@g.h", 1)), chunk(said(index=1, finish="stop")),
        chunk(said(index=0, finish="length")), chunk(usage=usage), DONE,
    )  # fmt: skip
    assert [[c["delta"].get("content") for c in frame["choices"]] for frame in frames[:-1]] == [
        ["a "], ["e "], ["[e-mail]"], ["[e-mail]"], [],
    ]  # fmt: skip
    assert frames[-2]["usage"] == usage


async def test_tool_calls_and_thoughts_pass_untouched_and_text_stays_before_them():
    call = [{"index": 0, "id": "t", "type": "function", "function": {"name": "mail", "arguments": '{"to": "a@b.cd"}'}}]
    thought = chunk(said(reasoning_content="maybe a@b.cd"))
    frames = await through(
        thought, chunk(said("ask x@y.zz")), chunk(said(tool_calls=call)), chunk(said(finish="tool_calls")), DONE
    )
    assert frames[0]["choices"][0]["delta"] == {"reasoning_content": "maybe a@b.cd"}
    assert frames[2]["choices"][0]["delta"] == {"tool_calls": call, "content": "[e-mail]"}
    assert texts(frames) == {0: "ask [e-mail]"}


async def test_an_event_in_which_nothing_changes_keeps_its_bytes():
    odd = b'data:{ "choices" : [ {"index": 0, "delta": {"content":"\\u0041 "}, "logprobs": {"content": [1]}} ] }\n\n'
    answer = await drive(
        PluginMiddleware(App(odd, b": ping\n\n", chunk(said(finish="stop")), DONE), plugins=[Redact()]), body=CHAT
    )
    assert answer.body.startswith(odd + b": ping\n\n" + chunk(said(finish="stop")))


async def test_logprobs_do_not_spell_what_is_held_or_changed():
    spelled = {"content": [{"token": "a@b.cd", "logprob": -1.0, "top_logprobs": []}]}
    choice = {**said("to a@b.cd"), "logprobs": spelled}
    frames = await through(chunk(choice), chunk({**said(finish="stop"), "logprobs": None}), DONE)
    assert "a@b.cd" not in json.dumps(frames)
    document = {**HEAD, "choices": [{"index": 0, "message": {"content": "to a@b.cd"}, "logprobs": spelled}]}
    assert "a@b.cd" not in json.dumps(await through(json.dumps(document).encode(), content_type=JSON))


async def test_a_plain_answer_is_settled_at_once_in_every_choice():
    choices = [{"index": i, "message": {"content": f"{i} a@b.cd"}, "finish_reason": "stop"} for i in range(3)]
    body = json.dumps({**HEAD, "choices": choices}).encode()
    answer = await through(body, content_type=JSON)
    assert [choice["message"]["content"] for choice in answer["choices"]] == [f"{i} [e-mail]" for i in range(3)]


async def test_text_in_parts_is_text():
    parts = [
        {"type": "thinking", "thinking": "a@b.cd"},
        {"type": "text", "text": "to a@b"},
        {"type": "text", "text": ".cd"},
    ]
    frames = await through(chunk(said(content=parts)), chunk(said(" now", finish="stop")), DONE)
    delta = frames[0]["choices"][0]["delta"]["content"]
    assert (delta[0], delta[1]["text"] + delta[2]["text"]) == (parts[0], "to ")
    assert frames[1]["choices"][0]["delta"]["content"] == "[e-mail] now"


@pytest.mark.parametrize("how", ["no end", "[DONE] alone", "an error of the app", "an error event"])
async def test_a_stream_that_breaks_shows_what_was_held_as_it_may_be_and_then_its_error(how):
    events = [chunk(said("to a@b.cd", 0)), chunk(said("or e@f", 1))]
    error = b'data: {"error": {"message": "broken", "type": "server_error", "param": null, "code": null}}\n\n'
    tail = {"[DONE] alone": [DONE], "an error event": [error, DONE]}.get(how, [])
    raises = GatewayError(502, "broken", type="server_error") if how == "an error of the app" else None
    answer = await drive(PluginMiddleware(Cut(*events, *tail, raises=raises), plugins=[Redact()]), body=CHAT)
    frames = [frame.removeprefix("data: ") for frame in answer.body.decode().split("\n\n") if frame]
    assert frames[-1] == "[DONE]"
    decoded = [json.loads(frame) for frame in frames[:-1]]
    assert texts(decoded) == {0: "to [e-mail]", 1: "or e@f"}
    assert ["error" in frame for frame in decoded] == [False] * 4 + [True]
    assert "a@b.cd" not in answer.body.decode()
    assert {frame["id"] for frame in decoded[:-1]} == {"c1"}


async def test_a_stream_without_a_finish_reason_ends_with_what_was_held():
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    without = [{"index": 0, "delta": {"content": "to a@b.cd"}}]
    frames = await through(chunk(*without), chunk(usage=usage), DONE)
    assert (texts(frames), frames[-1]) == ({0: "to [e-mail]"}, "[DONE]")


async def test_a_plugin_whose_own_hook_fails_at_a_cut_adds_nothing_and_the_error_still_comes():
    class Failing(Redact):
        def on_cut(self, exchange):
            raise LookupError("a bug")

    frames = await through(chunk(said("to a@b.cd")), whole=False, plugins=[Failing()])
    assert "error" in frames[-2]
    assert "a@b.cd" not in json.dumps(frames)


async def test_text_that_is_never_settled_is_bounded():
    sizes = []

    class Hoarding(Redact):
        @staticmethod
        def _settle(text, *, last):
            sizes.append(len(text))
            return (text, "") if last else ("", text)

        def __init__(self):
            self._text = HoldBack(self._settle)

    events = [chunk(said("x" * 10_000)) for _ in range(20)]
    frames = await through(*events, chunk(said(finish="stop")), DONE, plugins=[Hoarding()])
    assert max(sizes) < 80_000
    assert texts(frames) == {0: "x" * 200_000}


@pytest.mark.parametrize(
    "choice",
    [None, 7, {}, {"index": "0", "delta": {"content": "a@b.cd"}}, {"delta": None}, {"index": 0, "delta": {"content": 7}},
     {"index": 0, "finish_reason": "stop"}, {"index": None, "delta": {"content": "x"}}],
)  # fmt: skip
async def test_odd_choices_are_no_bug(choice):
    stack = PluginMiddleware(
        App(chunk(said("x y")), chunk(choice), chunk(said(finish="stop")), DONE), plugins=[Redact()]
    )
    await drive(stack, body=CHAT)
    assert not stack.faults
