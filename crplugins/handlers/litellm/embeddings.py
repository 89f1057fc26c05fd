"""Embeddings through litellm: the request as arguments of `aembedding`, and its answer as OpenAI would have sent it."""

import re
from array import array
from base64 import b64encode
from collections.abc import Mapping
from typing import Any, Final

from crplugins.core.body import Body
from crplugins.core.errors import GatewayError
from crplugins.handlers.litellm.answer import Document
from crplugins.handlers.litellm.request import Arguments
from crplugins.handlers.litellm.usage import fields_of, number_of, text_of
from crplugins.handlers.litellm_settings import is_setting

_OF_EMBEDDINGS: Final = frozenset({"dimensions", "input_type"})
_MOST_TOKENS: Final = 300_000
"""What OpenAI takes in one request; litellm does something for each number."""
_NUMBERS: Final = b"0123456789,[] \t\r\n"
_COUNT: Final = re.compile(rb'"[A-Za-z_]{0,40}[tT]okens?[A-Za-z_]{0,40}"\s{0,8}:\s{0,8}([0-9]{1,15})')


def embedding_arguments(parameters: Mapping[str, Any], body: Body) -> Arguments:
    """The arguments for `body` beside the model; `parameters` are `litellm_params`.

    How vectors are written, nobody is asked for: few providers know it, and `embedding_document` writes them.
    Raises `GatewayError` 400.
    """
    raw = body.bytes_of("input")
    if raw is None or raw == b"null":
        raise GatewayError(
            400, "Missing required parameter: 'input'.", param="input", code="missing_required_parameter"
        )
    tokens = raw.count(b",") + 1
    if tokens > _MOST_TOKENS and not raw.translate(None, _NUMBERS):
        message = f"Requested {tokens} tokens, max {_MOST_TOKENS} tokens per request"
        raise GatewayError(400, message, param="input", code="max_tokens_per_request")
    given = body.get("input")
    own = {name: value for name, value in parameters.items() if is_setting(name) or name in _OF_EMBEDDINGS}
    asked = {name: value for name in _OF_EMBEDDINGS if (value := body.get(name)) is not None}
    if "dimensions" in asked:  # of OpenAI's models litellm knows one that has them by its name, and of Azure's too few
        own["allowed_openai_params"] = [*(own.get("allowed_openai_params") or ()), "dimensions"]
    return {**own, **asked, "input": [given] if isinstance(given, str) else given}


def embedding_document(response: Any, model: str, *, in_base64: bool, provider_said: bytes | None) -> Document | None:
    """The document for an `EmbeddingResponse`; None if it has no vectors.

    Usage that stands nowhere in what the provider has said is an estimate of litellm's; what it has said itself counts.
    """
    fields = fields_of(response)
    found = [fields_of(each) for each in fields.get("data") or ()]
    if not found or not all(isinstance(each.get("embedding"), list | str) for each in found):
        return None
    vectors = [
        {"object": "embedding", "index": number, "embedding": _written(each["embedding"], in_base64=in_base64)}
        for number, each in enumerate(sorted(found, key=_place))
    ]
    document: Document = {"object": "list", "data": vectors, "model": text_of(fields.get("model")) or model}
    tokens = number_of(fields_of(fields.get("usage")).get("prompt_tokens"))
    if provider_said is not None and tokens not in (counted := _counts_in(provider_said)):
        tokens = max(counted, default=0)  # Gemini's, which litellm does not read
    if tokens:
        document["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
    return document


def _place(fields: Mapping[str, Any]) -> int:
    index = fields.get("index")
    return index if isinstance(index, int) else 0


def _written(vector: Any, *, in_base64: bool) -> Any:
    """As 32-bit floats in base64, which OpenAI's SDKs ask for unasked, or as numbers."""
    return b64encode(array("f", vector).tobytes()).decode() if in_base64 and isinstance(vector, list) else vector


def _counts_in(said: bytes) -> set[int]:
    return {int(count) for count in _COUNT.findall(said)}
