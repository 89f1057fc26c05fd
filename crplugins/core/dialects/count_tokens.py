"""Token counting (Anthropic, "Count tokens in a Message"): how many input tokens a message would have, for nothing."""

from typing import Any, Final

import msgspec

from crplugins.core.dialects.counted import ANSWERED
from crplugins.core.dialects.messages import Messages
from crplugins.core.lenient_json import NOT_JSON
from crplugins.core.wire import AnswerFacts, Misshapen


class _Count(msgspec.Struct):
    input_tokens: int | None = None
    error: Any = None


_count: Final = msgspec.json.Decoder(_Count)


class CountTokens(Messages):
    """`POST /v1/messages/count_tokens`. A request like any other, which uses no tokens."""

    name = "count_tokens"
    path = "/messages/count_tokens"
    prompt = ()
    output_limits = ()
    parameters = ()
    generates = uses_tokens = False
    optional = True
    model_within = ""
    models_in = ()

    def read(self, data: bytes) -> AnswerFacts | None:
        try:
            read = _count.decode(data)
        except msgspec.ValidationError:
            return Misshapen()
        except NOT_JSON:
            return None
        if read.error is not None:
            return AnswerFacts(error={})
        return AnswerFacts(choices=None if read.input_tokens is None else [ANSWERED])


COUNT_TOKENS: Final = CountTokens()
