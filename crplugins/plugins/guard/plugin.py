"""RequestGuard: refuses a request that OpenAI would refuse, with OpenAI's message, before it costs anything upstream.

`parameters.py` has the check of every parameter and `messages.py` that of the messages, both made of `checks.py`;
`refusals.py` has OpenAI's messages.
"""

import msgspec

from crplugins.core.dialects import CHAT
from crplugins.core.errors import GatewayError, invalid_type
from crplugins.core.exchange import Exchange
from crplugins.core.parameters import CHAT_PARAMETERS
from crplugins.core.plugin import Plugin
from crplugins.plugins.guard.checks import text_of
from crplugins.plugins.guard.messages import ChatMessages
from crplugins.plugins.guard.parameters import PARAMETERS, STRICT_PARAMETERS
from crplugins.plugins.guard.refusals import missing, only_allowed_with, shortened, unknown_parameter

Fields = dict[str, msgspec.Raw]


class RequestGuard(Plugin):
    """Checks types, ranges, enums and counts of every parameter of OpenAI's chat completions schema.

    What other providers may support is forwarded: unknown parameters, other types of tools and of content parts,
    messages without content. (A known one in disguise, `MODEL`, is refused before: see `core.request_json`.)

    Args:
        strict: refuse those too, as OpenAI does.
    """

    reads_body: bool = True

    def __init__(self, *, strict: bool = False) -> None:
        self._strict = strict
        self._parameters = tuple((STRICT_PARAMETERS if strict else PARAMETERS).items())
        self._messages = ChatMessages(strict=strict)

    def on_request(self, exchange: Exchange) -> None:
        _check_content_type(exchange)
        assert exchange.body is not None
        fields = exchange.body.fields
        _check_model(fields)
        if exchange.dialect is not CHAT:
            return
        if (messages := fields.get("messages")) is None:
            raise missing("messages")
        if self._strict:
            _check_names(fields)
        self._messages(messages)
        for name, check in self._parameters:
            if (value := fields.get(name)) is not None:
                check(name, bytes(value))
        _check_dependencies(fields)


def _check_names(fields: Fields) -> None:
    for name in fields:
        if name not in CHAT_PARAMETERS:
            raise unknown_parameter(shortened(name))


def _check_content_type(exchange: Exchange) -> None:
    """A missing content type counts as JSON: the body is parsed anyway."""
    kind = (exchange.header(b"content-type") or "application/json").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        message = "Unsupported Content-Type. This endpoint accepts 'application/json'; please send that header."
        raise GatewayError(415, message, code="unsupported_content_type")


def _check_model(fields: Fields) -> None:
    raw = bytes(fields.get("model", b"null"))
    if raw in (b"null", b'""'):
        raise GatewayError(400, "you must provide a model parameter")
    if raw[:1] != b'"':
        raise invalid_type("model", "a string", raw)
    text_of(raw)  # invalid text can be neither looked up nor recorded


def _check_dependencies(fields: Fields) -> None:
    """Parameters that are only allowed together with another."""
    for name, other in (("top_logprobs", "logprobs"), ("stream_options", "stream")):
        if bytes(fields.get(name, b"null")) != b"null" and bytes(fields.get(other, b"null")) != b"true":
            raise only_allowed_with(name, other)
