"""Chat completions (OpenAI, "Create chat completion"): the protocol that the others are measured by."""

from typing import Final

from crplugins.core.answer_forms import end_of, readable_chunk, stream_of
from crplugins.core.body import Body
from crplugins.core.chunk_reader import document_of
from crplugins.core.dialects.chat_usage import with_usage
from crplugins.core.dialects.dialect import Dialect
from crplugins.core.lenient_json import NOT_JSON
from crplugins.core.parameters import CHAT_PARAMETERS
from crplugins.core.sse import Event, Splitter, done_event
from crplugins.core.wire import AnswerFacts, read_answer


class Chat(Dialect):
    """`POST /v1/chat/completions`."""

    name = "chat"
    path = "/chat/completions"
    prompt = (
        "messages", "tools", "functions", "response_format", "prediction", "documents", "chat_template_kwargs",
        "chat_template",
    )  # fmt: skip
    output_limits = ("max_completion_tokens", "max_tokens", "n_predict", "max_new_tokens")
    parameters = CHAT_PARAMETERS
    asks_for_usage = True
    models_in = ("models", "fallbacks")  # of OpenRouter, and of LiteLLM's proxy as an upstream

    def choices(self, body: Body) -> int:
        return (body.get("n", int) if "n" in body else None) or 1

    def read(self, data: bytes) -> AnswerFacts | None:
        try:
            return read_answer(data)
        except NOT_JSON:
            return None

    def splitter(self, limit: int | None = None) -> Splitter:
        return Splitter(limit)  # which reads chunks by itself

    # A call less for each answer and each chunk.
    document = staticmethod(Event.json_document)
    readable = staticmethod(readable_chunk)
    with_usage = staticmethod(with_usage)
    end_of = staticmethod(end_of)

    def stream_of(self, document: bytes) -> list[Event]:
        return stream_of(document)

    def document_of(self, events: list[Event]) -> bytes:
        return document_of(events)

    def end_mark(self) -> Event:
        return done_event()


CHAT: Final = Chat()
