"""Compaction (OpenAI, "Compact a response"): a long conversation as a short one, which only its provider can read.

Codex asks for it before a prompt that would be too long, and asks nobody else if it is not there. The answer is whole,
and says its items and its usage as a response does.
"""

from typing import Final

import msgspec

from crplugins.core.dialects.counted import ANSWERED
from crplugins.core.dialects.dialect import Dialect
from crplugins.core.dialects.responses import Responses
from crplugins.core.sse import Event, Splitter
from crplugins.core.wire import AnswerFacts


class Compact(Responses):
    """`POST /v1/responses/compact`."""

    name = "compact"
    path = "/responses/compact"
    prompt = ("input", "instructions")
    output_limits = ()
    keeps_answers = False
    optional = True
    parameters = ("prompt_cache_key", "prompt_cache_retention", "service_tier")
    model_within = ""

    def read(self, data: bytes) -> AnswerFacts | None:
        """Items without a status: they are all there is."""
        answer = super().read(data)
        if answer is None or not answer.choices or answer.error is not None:
            return answer
        return msgspec.structs.replace(answer, choices=[*answer.choices, ANSWERED])

    def splitter(self, limit: int | None = None) -> Splitter:
        return Dialect.splitter(self, limit)

    def stream_of(self, document: bytes) -> list[Event] | None:
        return None


COMPACT: Final = Compact()
