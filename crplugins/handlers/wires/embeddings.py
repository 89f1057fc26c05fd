"""The form of embeddings (OpenAI, "Create embeddings"), with vectors that nothing but the input decides."""

import hashlib
import math
import struct
from base64 import b64encode
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from crplugins.handlers.wires.completion import Completion
from crplugins.handlers.wires.prompts import prompt_tokens, prompts_of
from crplugins.handlers.wires.wire import Wire

_DIMENSIONS: Final = 8
"""Of a vector whose request does not say."""

_MOST_NUMBERS: Final = 100_000
"""Of all vectors of an answer. OpenAI takes 2,048 texts, of which nobody means to try so many dimensions here."""


class EmbeddingsWire(Wire):
    """`POST /v1/embeddings`. `whole` raises ValueError for more numbers than it gives."""

    path = "/embeddings"
    id_prefix = "embd-"
    requires = ("input",)
    streams = False

    def asks(self, request: Mapping[str, Any]) -> list[dict[str, Any]]:
        return []

    def usage(self, completion: Completion, request: Mapping[str, Any]) -> Mapping[str, Any]:
        tokens = prompt_tokens(request["input"])
        return {"prompt_tokens": tokens, "total_tokens": tokens}

    def whole(self, completion: Completion, request: Mapping[str, Any], *, usage: bool = True) -> dict[str, Any]:
        given, size = prompts_of(request["input"]), request.get("dimensions") or _DIMENSIONS
        if not 0 < size * len(given) <= _MOST_NUMBERS:
            raise ValueError(f"an answer has {_MOST_NUMBERS} numbers at most")
        vectors = [_vector(each, size) for each in given]
        in_base64 = request.get("encoding_format") == "base64"
        data = [
            {"object": "embedding", "index": index, "embedding": _in_base64(vector) if in_base64 else vector}
            for index, vector in enumerate(vectors)
        ]
        body = {"object": "list", "data": data, "model": completion.model}
        return {**body, "usage": completion.usage} if usage else body


def _vector(given: Any, size: int) -> list[float]:
    """A vector of length 1: the same text has the same, whatever stands beside it."""
    seed = hashlib.sha256(msgspec.json.encode(given)).digest()
    numbers = [seed[place % len(seed)] / 255 - 0.5 + place / (4 * size) for place in range(size)]
    length = math.sqrt(sum(number * number for number in numbers)) or 1.0
    return [round(number / length, 6) for number in numbers]


def _in_base64(vector: list[float]) -> str:
    """Little-endian floats of four bytes, as OpenAI sends them."""
    return b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


EMBEDDINGS_WIRE: Final = EmbeddingsWire()
