"""The provider's stream behind litellm's: Tap sees what litellm drops from it, `hang_up` ends its HTTP request.

litellm's stream ends with finish_reason "stop" whether the provider sent one, the connection was closed or only [DONE]
arrived; it drops the usage beside an error, the error beside a chunk and broken JSON. All of that can be seen where
litellm and OpenAI's SDK decode the stream, by replacing three attributes of the objects that do it. An object without
them is not watched, so a release of litellm that renames one costs precision, never an answer.

litellm closes a stream that its own handlers made with the response attached. Those of Anthropic, Bedrock and some
others hold only an iterator over the lines of the response, and closing that lets the model go on generating, and
costing, for no client.
"""

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from inspect import isasyncgen
from typing import Any, Final

import msgspec

from crplugins.core.answer_forms import named_error
from crplugins.core.finish_reasons import is_failure
from crplugins.core.lenient_json import NOT_JSON, decode_leniently
from crplugins.core.sse import Splitter
from crplugins.handlers.litellm.anthropic import CountedBefore
from crplugins.handlers.litellm.cohere import chunk_of
from crplugins.handlers.litellm.lines import LONGEST_HEARTBEAT, clean_bytes, clean_lines, says_nothing
from crplugins.handlers.litellm.usage import fields_of

logger = logging.getLogger("crplugins.upstream")

# Parsers of OpenAI's chunks that only rename keys, which `StreamRepair` reads under both names, and drop others.
# Without them a chunk is the provider's own JSON with all its fields, and a third of the CPU is saved.
RENAMING_PARSERS: Final = frozenset({
    "AzureAIChatCompletionResponseIterator", "CometAPIChatCompletionStreamingHandler",
    "EdenAIChatCompletionStreamingHandler", "GroqChatCompletionStreamingHandler", "MistralChatResponseIterator",
    "OVHCloudChatCompletionStreamingHandler", "OpenAIChatCompletionResponseIterator",
    "OpenAIChatCompletionStreamingHandler", "OpenRouterChatCompletionStreamingHandler", "SnowflakeStreamingHandler",
    "XAIChatCompletionStreamingHandler",
})  # fmt: skip

_PARTS: Final = frozenset({"choices", "usage", "error", "x_groq", "type"})
"""Members of which a part of an answer in OpenAI's wire, or in Anthropic's, has one."""

_BROKEN: Final = object()
_HOLDERS: Final = ("http_response", "response", "streaming_response", "response_iterator", "completion_stream")
_MAX_DEPTH: Final = 6

_ENDS_OF_RESPONSES: Final = frozenset({"response.completed", "response.incomplete"})
_FAILURES_OF_RESPONSES: Final = frozenset({"response.failed", "error"})


class Tap:
    """What the provider sent: `done` is [DONE], `error` its error object, `usage` counts that litellm drops.

    `ended` says that the answer has ended in the provider's own format, `unfinished` that its last chunk there does not
    end it, whatever litellm makes of it. [DONE] is no such end: gateways send it after an answer that was cut.
    `on_malformed` is called for each event that is kept from litellm's readers because nobody can read it, and may
    raise what the answer ends with.
    """

    __slots__ = ("done", "ended", "error", "on_malformed", "unfinished", "usage")

    def __init__(self) -> None:
        self.done = False
        self.ended = False
        self.error: Any = None
        self.usage: Any = None
        self.on_malformed: Callable[[], None] = _leave_out
        self.unfinished = False

    def over(self) -> None:
        """The stream has ended: whoever is told of malformed events knows this, and would be in a circle with it."""
        self.on_malformed = _leave_out

    def attach(self, stream: Any) -> None:
        """Watches a provider's stream. To be called before its first item is read.

        One of Responses has no lines to watch: litellm has decoded its events.
        """
        if hasattr(events := getattr(stream, "streaming_response", None), "responses_api_provider_config"):
            stream.streaming_response = self._watched(events)
            return
        if hasattr(stream, "_decoder") and hasattr(stream, "_cast_to"):
            self._watch_sdk(stream)
        if hasattr(stream, "streaming_response") and hasattr(stream.streaming_response, "__aiter__"):
            self._clean(stream)
        if type(stream).__name__ == "CohereV2ModelResponseIterator":
            self._read_cohere(stream)
        elif callable(getattr(stream, "chunk_parser", None)):
            self._watch_parser(stream)
        if callable(getattr(stream, "_handle_string_chunk", None)):
            self._watch_lines(stream)

    def see(self, chunk: Any) -> None:
        """Notes a decoded event."""
        if not isinstance(chunk, dict):
            return
        if chunk.get("error"):
            self.error, self.usage = chunk["error"], chunk.get("usage")
        elif chunk.get("type") == "message_stop":  # Anthropic's
            self.ended = True
        elif candidates := chunk.get("candidates"):  # Gemini's, whose every chunk litellm's parser calls the last
            reasons = [reason for candidate in candidates if (reason := _finish_of(candidate))]
            self.unfinished = not reasons
            if any(map(is_failure, reasons)):  # litellm calls these `stop`
                self.error = f"the model failed: {reasons[0]}"
        elif chunk.get("done") is True:  # Ollama's, whose counts litellm drops if one of the two is missing
            self.usage = {"prompt_tokens": chunk.get("prompt_eval_count"), "completion_tokens": chunk.get("eval_count")}

    async def _watched(self, events: Any) -> AsyncIterator[Any]:
        """Events of Responses. What litellm makes of them ends as an answer does, however they end."""
        self.unfinished = True
        async for event in events:
            kind = getattr(event, "type", "")
            kind = str(getattr(kind, "value", kind))
            if kind in _ENDS_OF_RESPONSES:
                self.unfinished = False
            elif kind in _FAILURES_OF_RESPONSES:
                self.error = fields_of(getattr(getattr(event, "response", event), "error", None)) or kind
            yield event

    def _clean(self, stream: Any) -> None:
        """Readers hold the lines under one name or two."""
        lines = stream.streaming_response
        are_json = type(stream).__name__.startswith("Ollama")
        cleaned = clean_lines(aiter(lines), are_json=are_json, malformed=lambda: self.on_malformed())
        stream.streaming_response = cleaned
        if getattr(stream, "response_iterator", None) is lines:
            stream.response_iterator = cleaned

    def _read_cohere(self, stream: Any) -> None:
        def chunk(chunk: str) -> Any:
            data = chunk.strip().removeprefix("data:").strip()
            event = _decoded(data)
            if not isinstance(event, dict):
                self.done = self.done or data == "[DONE]"
                return None
            self.see(event)
            return chunk_of(event)

        stream.convert_str_chunk_to_generic_chunk = chunk

    def _watch_sdk(self, stream: Any) -> None:
        """OpenAI's SDK keeps [DONE] and errors to itself, and builds models at 80 us each where JSON would do."""
        stream._decoder = _WatchedDecoder(stream._decoder, self)
        if getattr(stream._cast_to, "__name__", "") == "ChatCompletionChunk":
            stream._cast_to = object

    def _watch_parser(self, stream: Any) -> None:
        original = stream.chunk_parser
        renames_only = type(stream).__name__ in RENAMING_PARSERS
        before = CountedBefore()

        def chunk_parser(chunk: Any) -> Any:
            self.see(chunk)
            if renames_only and isinstance(chunk, dict) and _PARTS.isdisjoint(chunk):  # a sign of life
                return None
            # Snowflake has Anthropic's events too, for some models.
            as_it_is = renames_only and isinstance(chunk, dict) and ("choices" in chunk or "type" not in chunk)
            return chunk if as_it_is else original(chunk=before.completed(chunk))

        stream.chunk_parser = chunk_parser

    def _watch_lines(self, stream: Any) -> None:
        original = stream._handle_string_chunk

        def handle(str_line: str) -> Any:
            data = str_line.strip().removeprefix("data:").strip()
            if data == "[DONE]":
                self.done = True
                return None
            if "[DONE]" in data and data.startswith("{"):  # litellm would end the answer where its text has [DONE]
                return stream.chunk_parser(chunk=msgspec.json.decode(data))
            return original(str_line=str_line)

        stream._handle_string_chunk = handle


def _leave_out() -> None: ...


def _finish_of(candidate: Any) -> Any:
    return candidate.get("finishReason") if isinstance(candidate, dict) else None


class _WatchedDecoder:
    """The SSE decoder of OpenAI's SDK, which lets the tap see each event."""

    def __init__(self, decoder: Any, tap: Tap) -> None:
        self._decoder = decoder
        self._tap = tap

    async def aiter_bytes(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        async for event in self._decoder.aiter_bytes(self._readable(clean_bytes(chunks))):
            data = event.data
            if len(data) <= LONGEST_HEARTBEAT and says_nothing(data.strip()):  # the SDK would fail on it, or hand it on
                continue
            if data.startswith("[DONE]"):
                self._tap.done = True
            elif '"error"' in data:
                self._tap.see(_decoded(data))
            yield event

    async def _readable(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The bytes without the events that nobody can read: the SDK would end with an exception of its parser."""
        splitter = Splitter()
        async for chunk in chunks:
            for event in splitter.feed(chunk):
                if event.is_malformed:
                    self._tap.on_malformed()
                elif not event.is_heartbeat:
                    yield named_error(event).raw


def _decoded(data: str) -> Any:
    try:
        return decode_leniently(data.encode("utf-8", "surrogatepass"))
    except NOT_JSON:
        return _BROKEN


async def hang_up(stream: Any) -> None:
    """Closes every httpx response reachable from `stream`, which must not be being read. Never raises."""
    for response in list(_responses(stream, set(), _MAX_DEPTH)):
        try:
            await response.aclose()
        except Exception as error:  # the connection may be closed already
            logger.debug("closing an upstream response failed: %r", error)


def _responses(holder: Any, seen: set[int], depth: int) -> Iterator[Any]:
    if holder is None or id(holder) in seen or depth == 0:
        return
    seen.add(id(holder))
    if type(holder).__name__ == "Response" and hasattr(holder, "aclose"):
        yield holder
        return
    for inner in _held_by(holder):
        yield from _responses(inner, seen, depth - 1)


def _held_by(holder: Any) -> list[Any]:
    """What a stream object holds in its attributes, or a suspended generator in its variables (`self`, a response)."""
    if not isasyncgen(holder):
        return [getattr(holder, name, None) for name in _HOLDERS]
    frame = holder.ag_frame
    return [] if frame is None else [value for value in frame.f_locals.values() if _may_hold(value)]


def _may_hold(value: Any) -> bool:
    return isasyncgen(value) or type(value).__name__ == "Response" or any(hasattr(value, name) for name in _HOLDERS)
