"""Dialect: how one protocol says what a request asks for and what an answer tells.

What an answer tells is given as `AnswerFacts`, the same for every protocol: `choices` are the answers in it, each with
what it says and the reason why it has ended; `usage` counts its tokens; `ends` is the end mark of a stream. From these
everybody reads what has been said, whether it is complete, and what it costs.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

import msgspec

from crplugins.core.body import Body
from crplugins.core.errors import GatewayError, Header
from crplugins.core.form_body import FormBody
from crplugins.core.lenient_json import NOT_JSON, decode_leniently, encoded, object_of
from crplugins.core.parameters import CHAT_PARAMETERS
from crplugins.core.sse import Event, Splitter, named_frame
from crplugins.core.units import NO_UNITS, Units
from crplugins.core.usage import TokenUsage
from crplugins.core.wire import AnswerFacts


class Typed(msgspec.Struct):
    """What names an event in the protocols whose events have names."""

    type: str | None = None


TYPED: Final = msgspec.json.Decoder(Typed)


def typed_frame(event: Mapping[str, Any]) -> bytes:
    """An event of such a protocol, whose name is its type."""
    return named_frame(str(event["type"]).encode(), encoded(event))


class Dialect:
    """One protocol. There is one instance of each, and it keeps nothing.

    Attributes:
        name: what records and metrics call the endpoint.
        path: what the paths of its requests end with: `/chat/completions`, after `/v1` or whatever stands there.
        other_paths: what else they may end with, the version included.
        default_model: whom a request without a model means; "" where it must name one.
        prompt: the members of a request that the provider reads as input.
        tokens: of these members those that may be the numbers of tokens, as many as a body is long.
        pictures: of these members those that hold pictures, as the files of a form then are.
        output_limits: the members of a request that bound the output of each answer, that of the protocol first. Of
            several each counts to some server, so an answer may be as long as the largest says.
        parameters: those of chat completions that mean the same in it.
        generates: an answer has output tokens. Of one that has none, the input alone is estimated and reserved.
        draws: an answer is pictures, of which some models' are paid by tokens that the request says.
        uses_tokens: an answer is made by a model. One that is not costs nothing.
        optional: upstreams may speak the protocol around it and lack this, so that their 404 says nothing about the
            model.
        form: requests are forms (multipart/form-data), whose fields stand in the body as texts.
        passes_bytes: an answer that is text or sound may be no JSON, and passes as it is.
        has_stream_format: a stream of events is asked for by `"stream_format": "sse"`.
        model_within: the member of an event under which the model stands, beside the top; "" for none.
        keeps_answers: providers keep them, for requests that come later.
        asks_for_usage: its streams tell their usage only if `stream_options` asks for it.
        id_headers: the headers of an answer that name the request: ours, and the one that the protocol's SDKs read.
        version: the header in which clients say which version of the protocol they speak, and the version where they do
            not; "" for a protocol without one. Lower case, as all names of headers here.
        features: the header in which they name features that the version does not have yet.
        models_in: the members of a request that name further models, which the provider asks beside or in the place of
            `model`: a list of names, or of objects with a `model`.
        own_fallbacks: the protocol itself has `fallbacks` among them, with the word "default" for those that its
            provider chooses.
        queries: what its clients write after the path that an upstream is to see, as pairs.
    """

    name: str
    path: str
    other_paths: tuple[str, ...] = ()
    default_model: str = ""
    prompt: tuple[str, ...] = ("messages", "tools")
    tokens: tuple[str, ...] = ()
    pictures: tuple[str, ...] = ()
    output_limits: tuple[str, ...] = ()
    parameters: Collection[str] = ()
    generates: bool = True
    draws: bool = False
    uses_tokens: bool = True
    optional: bool = False
    form: bool = False
    passes_bytes: bool = False
    has_stream_format: bool = False
    keeps_answers: bool = False
    asks_for_usage: bool = False
    model_within: str = ""
    id_headers: tuple[bytes, ...] = (b"x-request-id",)
    version: tuple[str, str] = ("", "")
    features: str = ""
    queries: tuple[bytes, ...] = ()
    models_in: tuple[str, ...] = ()
    own_fallbacks: bool = False

    def request_of(self, raw: bytes, headers: Iterable[Header]) -> Body:
        """A request, read. One that means a model without naming it has its name: no plugin could judge it otherwise.

        Raises `GatewayError` as `Body.of_request` and `FormBody.of_form` do.
        """
        body = self.form_of(raw, headers) if self.form else Body.of_request(raw, tokens=self.tokens)
        if self.default_model and body.get("model", str) is None:
            body.set("model", self.default_model)
        return body

    def form_of(self, raw: bytes, headers: Iterable[Header]) -> Body:
        """A request of a protocol of forms. Raises as `FormBody.of_form`."""
        return FormBody.of_form(raw, headers)

    def has(self, parameter: str) -> bool:
        """Whether a parameter means in it what it means in chat completions, or is none of theirs."""
        return parameter not in CHAT_PARAMETERS or parameter in self.parameters

    def choices(self, body: Body) -> int:
        """How many answers a request asks for."""
        return 1

    def generated(self, body: Body) -> int:
        """How many answers are generated for it, and paid for."""
        return self.choices(body)

    def asked_terms(self, body: Body) -> tuple[str | None, str | None, str | None]:
        """What a request asks for that changes its price: the processing tier, the region where the model runs, and how
        much of the web a search takes in."""
        tier = "fast" if body.get("speed", str) == "fast" else body.get("service_tier", str)
        search = body.get("web_search_options") if "web_search_options" in body else None
        size = search.get("search_context_size") if isinstance(search, dict) else None
        return tier, body.get("inference_geo", str), size if isinstance(size, str) else None

    def other_models(self, body: Body) -> list[str]:
        """The models that a request names besides its own."""
        given = [body.bytes_of(member) for member in self.models_in]
        named = [each if isinstance(each, str) else each.model for raw in given if raw for each in _names_in(raw)]
        return [name for name in named if isinstance(name, str)]

    def asked_units(self, body: Body) -> Units:
        """What a request asks for, or brings along, that is charged by number and is no token."""
        return NO_UNITS

    def read(self, data: bytes) -> AnswerFacts | None:
        """The facts of a whole answer or of an event; None for data that is no JSON.

        JSON that is no part of an answer is `Misshapen`. An event that a client needs and that says nothing has an
        empty list of choices: one without `choices` is a heartbeat, which no client is sent. Linear in the data.
        """
        raise NotImplementedError

    def splitter(self, limit: int | None = None) -> Splitter:
        """What cuts a stream into events that are read."""
        return Splitter(limit, lambda data, name: self.read(data))  # noqa: ARG005  # the data alone says what it is

    def document(self, body: bytes) -> Event:
        """A whole answer, read."""
        return Event(body, body, b"", True, self.read(body))

    def readable(self, event: Event) -> Event:
        """The event as the protocol's own SDKs can read it; nearly always the same object."""
        return event

    def stream_of(self, document: bytes) -> list[Event] | None:
        """The events of a stream that says what a whole answer says; None where nobody knows.

        Raises what `decode_leniently` raises.
        """
        return None

    def document_of(self, events: list[Event]) -> bytes | None:
        """The whole answer that the events of a complete stream tell; None where nobody knows."""
        return None

    def with_usage(self, event: Event, told: TokenUsage) -> Event:
        """The event, which counts an answer, with this count in the place of its own; the same where nobody knows."""
        return event

    def error_in(self, event: Event) -> bytes:
        """The JSON of the error that an event is, in a form that `handlers/error_bodies.py` knows."""
        return event.data or b""

    def error_body(self, error: GatewayError, request_id: str) -> bytes:
        """The JSON document of a refusal."""
        return error.body()

    def error_event(self, error: GatewayError, request_id: str) -> Event:
        """The failure of a stream that has begun, which a client takes for no end of an answer."""
        return Event.of(error.body())

    def end_mark(self) -> Event | None:
        """What follows the last event of a stream; None where the last event itself is the end."""
        return None

    def end_of(self, choice: int, reason: str, chunk: Event) -> Event | None:
        """The event that ends a choice whose server never says why it has ended. `chunk` is another of the stream."""
        return None

    def closing_mark(self) -> Event | None:
        """What ends a complete stream whose server has left its end out."""
        return self.end_mark()

    def following(self, failure: Event, last: Event | None) -> Event:
        """`failure` as the event after `last`, in protocols that number their events."""
        return failure

    def last_events(self, error: GatewayError, request_id: str, last: Event | None = None) -> list[Event]:
        """What ends a stream that has begun and failed. `last` is the event before, where it is known."""
        mark = self.end_mark()
        failure = self.following(self.error_event(error, request_id), last)
        return [failure] if mark is None else [failure, mark]

    def __repr__(self) -> str:
        return f"<Dialect {self.name}>"


def is_text_or_sound(content_type: str) -> bool:
    """Whether a content type is that of sound or plain text. Raw bytes are called by no other."""
    kind = content_type.partition(";")[0].strip().lower()
    return (kind.startswith(("audio/", "text/")) and kind != "text/event-stream") or kind in _SOUNDS


def is_document(body: bytes) -> bool:
    """Whether an answer begins as a JSON document does. Whisper writes `[Music]`, and sound begins with any byte."""
    head = body[:_BLANKS].lstrip(_WHITE)
    first, second = head[:1], head[1:].lstrip(_WHITE)[:1]
    return (first == b"{" and second in (b"", b'"', b"}")) or (first == b"[" and second in (b"{", b"]"))


def is_page(body: bytes) -> bool:
    """Whether an answer begins as a page of the web: of a proxy that answers in the place of the provider. whisper.cpp
    calls plain text one."""
    return body[:_BLANKS].lstrip().lower().startswith((b"<!doctype html", b"<html"))


_BLANKS: Final = 64
"""Bytes within which a document or a page begins."""

_WHITE: Final = b" \t\r\n"

_SOUNDS: Final = frozenset({"application/octet-stream", "application/x-subrip", "application/ogg"})


class _Named(msgspec.Struct):
    model: Any = None


_names: Final = msgspec.json.Decoder(list[_Named | str])


def _names_in(raw: bytes) -> list[_Named | str]:
    """The items of a list; those of another kind name nothing. Of an object nothing else is built."""
    try:
        return _names.decode(raw)
    except NOT_JSON:
        pass
    items = decode_leniently(raw)
    listed = items if isinstance(items, list) else []
    return [each if isinstance(each, str) else _Named(object_of(each).get("model")) for each in listed]
