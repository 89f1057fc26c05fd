"""StreamUsage: asks every stream for usage, and shows it only to clients that asked.

For a client that did not ask, `without_usage` removes it from each chunk. For one that did, `UsageOnOneChunk` shows it
on exactly one.
"""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from crplugins.core.body import Body
from crplugins.core.exchange import Exchange, Refusal, Slot
from crplugins.core.finish_reasons import is_end
from crplugins.core.lenient_json import NOT_JSON, object_of, objects_of
from crplugins.core.plugin import Plugin
from crplugins.core.sse import FRAME_BYTES, Event
from crplugins.core.stream_options import (
    REMEMBERED_SECONDS,
    STREAM_OPTIONS,
    StreamOptionsRefused,
    asks_for_usage_only,
    names_stream_options,
)
from crplugins.core.wire import AnswerFacts

_SHOWN: Final[Slot["UsageOnOneChunk"]] = Slot("stream_usage.shown")
_HIDDEN: Final[Slot[bool]] = Slot("stream_usage.hidden")
_RETRIED: Final[Slot[bool]] = Slot("stream_usage.retried")


class StreamUsage(Plugin):
    """Merges `include_usage: true` into `stream_options` (OpenAI, "Create chat completion", `stream_options`).

    Other options are kept. `{}`, `null` and `include_usage: false` do not prevent it: such a client only does not see
    the usage. A client that did ask sees it on exactly one chunk. A request that an app answers with 400 or 422 and a
    text about `stream_options` is retried once without them. If that succeeds, the app gets none in requests with the
    same parameters for `remember_seconds`.

    Place it inside the plugins that read usage from the Exchange: they see it whatever the client sees.
    """

    reads_body = True
    rewrites_events = True
    reads_texts = False

    def __init__(self, *, remember_seconds: float = REMEMBERED_SECONDS) -> None:
        self._refused = StreamOptionsRefused(remember_seconds)

    def on_request(self, exchange: Exchange) -> None:
        body = exchange.body
        if body is None or not exchange.dialect.asks_for_usage or not body.get("stream"):
            return
        options = body.get(STREAM_OPTIONS)
        asked = isinstance(options, dict) and options.get("include_usage") is True
        if asked and options.get("continuous_usage_stats"):  # vLLM's option: the client wants usage on every chunk
            return
        if asked:
            _SHOWN.set(exchange, UsageOnOneChunk(exchange.choices))
        else:
            _HIDDEN.set(exchange, True)
            if options is None or isinstance(options, dict):  # the app refuses anything else itself
                body.set(STREAM_OPTIONS, {**(options or {}), "include_usage": True})
        if self._refused.known(_app_of(exchange), body, exchange.clock()):
            body.remove(STREAM_OPTIONS)

    def on_refused(self, exchange: Exchange, refusal: Refusal) -> bool:
        body = exchange.body
        if body is None or not names_stream_options(refusal.status, refusal.body.decode("utf-8", "replace")):
            return False
        if not asks_for_usage_only(body):
            return False
        body.remove(STREAM_OPTIONS)
        _RETRIED.set(exchange, True)
        return True

    def on_event(self, exchange: Exchange, event: Event) -> Event | None:
        if event.document or event.data is None:
            return event
        if _HIDDEN in exchange.slots:
            return without_usage(event) if b"usage" in event.data else event
        shown = _SHOWN.get(exchange)
        return event if shown is None else shown.filtered(event)

    def on_end(self, exchange: Exchange) -> Iterable[Event]:
        if exchange.body is not None and _RETRIED.get(exchange):
            self._refused.remember(_app_of(exchange), exchange.body, exchange.clock())
        shown = _SHOWN.get(exchange)
        return () if shown is None else shown.closing_events()


def _app_of(exchange: Exchange) -> str:
    """The key for the memory of refusals: an app may serve several models, of which one refuses."""
    return exchange.body.get("model", str) or "" if exchange.body is not None else ""


_NULLS: Final = (b',"usage":null', b', "usage": null')


def without_usage(event: Event) -> Event | None:
    """The event without usage; None for a chunk that contains nothing else. `event.data` contains the word `usage`."""
    data = event.data or b""
    shortened = _without_null(data)
    if shortened is not None:
        if len(event.raw) == len(data) + FRAME_BYTES:  # half the time of `with_data`, on every chunk
            return Event(b"data: " + shortened + b"\n\n", shortened, b"", False, event.answer, event.text)
        return event.with_data(shortened, event.answer)
    answer = event.answer
    if answer is None:  # not JSON, or [DONE]
        return event
    if answer.error is None and answer.counted is not None and _is_usage_only(data):
        return None
    choices = answer.choices and [msgspec.structs.replace(choice, usage=None) for choice in answer.choices]
    facts = msgspec.structs.replace(answer, choices=choices, usage=None, x_groq=None)
    return _stripped(event, Body.of_answer(data), facts)


def _without_null(data: bytes) -> bytes | None:
    """Cuts out `"usage":null`, which OpenAI has on every chunk, without parsing; None if that is not safe.

    A quote after a comma begins a key or a text, and the colon after it makes it a key. It is a key of the chunk itself
    if only one object is closed after it.
    """
    for null in _NULLS:
        at = data.rfind(null)
        if at > 0 and data.find(b"usage", 0, at) == -1 and data.count(b"}", at) == 1:
            return data[:at] + data[at + len(null) :]
    return None


def _is_usage_only(data: bytes) -> bool:
    """No choices, or empty ones (a LiteLLM proxy sends `{"index": 0, "delta": {}}`), and no other content."""
    try:
        chunk = _usage_chunk.decode(data)
    except NOT_JSON:  # other members than those, or JSON to lenient parsers alone
        return _has_no_content(Body.of_answer(data))
    return not chunk.choices or all(_is_empty(msgspec.json.decode(choice)) for choice in chunk.choices)


def _has_no_content(body: Body) -> bool:
    """For chunks with unknown keys, which may be null."""
    choices = body.get("choices", list)
    if choices is None or any(not _is_empty(choice) for choice in choices):
        return False
    known = _UsageChunk.__struct_fields__
    return all(key in known or body.get(key) in (None, [], {}) for key in body)


def _is_empty(choice: Any) -> bool:
    return isinstance(choice, dict) and not choice.get("delta") and choice.get("finish_reason") is None


def _stripped(event: Event, body: Body, answer: AnswerFacts) -> Event:
    before = body.raw
    body.remove("usage")
    groq = body.get("x_groq")
    if isinstance(groq, dict) and "usage" in groq:
        body.set("x_groq", {name: value for name, value in groq.items() if name != "usage"})
    choices = body.get("choices", list) or []
    if any(isinstance(choice, dict) and choice.get("usage") is not None for choice in choices):  # Kimi's
        body.set("choices", [{name: value for name, value in each.items() if name != "usage"} for each in choices])
    return event if body.raw is before else event.with_data(body.raw, answer)


class _UsageChunk(msgspec.Struct, forbid_unknown_fields=True):
    """The fields of a chunk without content: a chunk with no others and with usage is the usage chunk."""

    choices: list[msgspec.Raw]
    usage: msgspec.Raw = msgspec.Raw(b"")
    x_groq: msgspec.Raw = msgspec.Raw(b"")
    id: msgspec.Raw = msgspec.Raw(b"")
    object: msgspec.Raw = msgspec.Raw(b"")
    created: msgspec.Raw = msgspec.Raw(b"")
    model: msgspec.Raw = msgspec.Raw(b"")
    system_fingerprint: msgspec.Raw = msgspec.Raw(b"")
    service_tier: msgspec.Raw = msgspec.Raw(b"")
    obfuscation: msgspec.Raw = msgspec.Raw(b"")
    provider: msgspec.Raw = msgspec.Raw(b"")
    timings: msgspec.Raw = msgspec.Raw(b"")  # llama.cpp's: how many tokens, and how fast


_usage_chunk: Final = msgspec.json.Decoder(_UsageChunk)


_HEAD_FIELDS: Final = ("id", "object", "created", "model", "service_tier", "system_fingerprint")


class UsageOnOneChunk:
    """Shows the usage of one stream on exactly one chunk.

    That is the chunk without choices, or the chunk that ends the last choice: where the provider puts it. Running
    counts, which stand beside words or before the end, become null; if no other usage follows, the last of them is sent
    in a chunk of OpenAI's form. So is usage that stands inside a choice (Kimi), where no client looks for it. Usage
    that counts nothing, zeros or nulls, is none: some providers have it on the chunk before the real one.

    Args:
        choices: how many the client asked for (`n`).
    """

    __slots__ = ("_choices", "_finished", "_last_counted", "_shown")

    def __init__(self, choices: int) -> None:
        self._choices = choices
        self._finished: set[int] = set()
        self._last_counted: Event | None = None
        self._shown = False

    def filtered(self, event: Event) -> Event | None:
        """The event for the client; None for a usage chunk that is repeated, or shown later."""
        answer = event.answer
        if answer is None or event.text is not None:
            return event
        for choice in answer.choices or ():
            if is_end(choice.finish_reason):
                self._finished.add(choice.index)
            if choice.usage is not None:
                self._last_counted = event
        if answer.x_groq is not None and answer.usage is None and answer.counted is not None:
            self._last_counted = event
        if answer.usage is None or answer.error is not None:
            return event
        if answer.usage.counted() is None:
            return _with_null_usage(event, answer)
        return self._with_usage(event, answer)

    def closing_events(self) -> Iterable[Event]:
        """The events to add when the stream is complete: the usage, if it was not shown yet."""
        last = self._last_counted
        if self._shown or last is None or last.answer is None:
            return ()
        if last.answer.usage is not None and not last.answer.choices:
            return (last,)
        return (_usage_chunk_of(last, last.answer),)

    def _with_usage(self, event: Event, answer: AnswerFacts) -> Event | None:
        if self._shown:
            return _with_null_usage(event, answer) if answer.choices else None
        if self._is_total() and not answer.says():
            self._shown = True
            return event
        self._last_counted = event
        return _with_null_usage(event, answer) if answer.choices else None

    def _is_total(self) -> bool:
        """vLLM counts several choices separately, on every chunk, and their sum on a chunk after them."""
        ended = len(self._finished) >= self._choices
        return ended and (self._choices == 1 or self._last_counted is None)


def _usage_chunk_of(event: Event, answer: AnswerFacts) -> Event:
    """The usage of a chunk that has choices, wherever it stands in it, in a chunk of its own."""
    chunk = Body.of_answer(event.data or b"")
    groq, inside = object_of(chunk.get("x_groq")).get("usage"), objects_of(chunk.get("choices"))
    usage = next(each for each in (chunk.get("usage"), groq, *(c.get("usage") for c in inside)) if each is not None)
    reported = [answer.usage, answer.x_groq and answer.x_groq.usage, *(c.usage for c in answer.choices or ())]
    facts = msgspec.structs.replace(
        answer, choices=[], usage=next(each for each in reported if each is not None), x_groq=None
    )
    head: dict[str, Any] = {name: chunk.get(name) for name in _HEAD_FIELDS if name in chunk}
    data = msgspec.json.encode({**head, "choices": [], "usage": usage})
    return Event(b"data: " + data + b"\n\n", data, b"", False, facts)


def _with_null_usage(event: Event, answer: AnswerFacts) -> Event:
    body = Body.of_answer(event.data or b"")
    body.set("usage", None)
    return event.with_data(body.raw, msgspec.structs.replace(answer, usage=None))
