"""Embeddings (OpenAI, "Create embeddings"): vectors of texts. Nothing is generated; the input is what is counted."""

from typing import Any, Final

import msgspec

from crplugins.core.dialects.dialect import NOT_JSON, Dialect
from crplugins.core.reported_usage import ReportedUsage
from crplugins.core.wire import AnswerFacts, Choice, Misshapen

ANSWERED: Final = Choice(0, "stop")
"""The one choice of an answer that says nothing in tokens."""


class _Vectors(msgspec.Struct):
    model: str | None = None
    data: list[msgspec.Raw] | None = None
    usage: ReportedUsage | None = None
    error: Any = None


_vectors: Final = msgspec.json.Decoder(_Vectors)


class Embeddings(Dialect):
    """`POST /v1/embeddings`."""

    name = "embeddings"
    path = "/embeddings"
    prompt = ("input",)
    generates = False

    def read(self, data: bytes) -> AnswerFacts | None:
        try:
            read = _vectors.decode(data)
        except msgspec.ValidationError:
            return Misshapen()
        except NOT_JSON:
            return None
        choices = None if read.data is None else [ANSWERED]
        return AnswerFacts(read.model, choices, read.usage, read.error)


EMBEDDINGS: Final = Embeddings()
