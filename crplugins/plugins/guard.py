"""RequestGuard: refuses a request OpenAI would refuse, with OpenAI's own words, before it costs anything upstream."""

from crplugins.core.body import Body
from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange
from crplugins.core.plugin import Plugin
from crplugins.plugins.guard_checks import invalid_type, missing
from crplugins.plugins.guard_messages import check_messages
from crplugins.plugins.guard_parameters import PARAMETERS

_CHECKED_ALONE = frozenset({"model", "messages"})

# Some upstreams match keys without regard to case: a `MODEL` beside `model` would get past every check of a name.
_KNOWN = _CHECKED_ALONE | PARAMETERS.keys()


class RequestGuard(Plugin):
    """Checks types, ranges, enums and counts of every parameter of OpenAI's chat completions schema.

    Parameters nobody knows are forwarded, because other providers have more than OpenAI does.

    Args:
        strict: refuse them instead, as OpenAI does.
    """

    reads_body: bool = True

    def __init__(self, *, strict: bool = False) -> None:
        self._strict = strict

    async def on_request(self, exchange: Exchange) -> None:
        _check_content_type(exchange)
        body = exchange.body
        assert body is not None
        _check_model(body)
        messages = body.bytes_of("messages")
        if messages is None:
            raise missing("messages")
        check_messages(messages)
        self._check_parameters(body)
        _check_dependencies(body)

    def _check_parameters(self, body: Body) -> None:
        for name, raw in body.fields.items():
            check = PARAMETERS.get(name)
            if check is not None:
                check(name, bytes(raw))
            elif name not in _CHECKED_ALONE and (self._strict or name.lower() in _KNOWN):
                raise GatewayError(400, f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")


def _check_content_type(exchange: Exchange) -> None:
    """A missing one is taken for JSON: what the body is shows soon enough."""
    kind = (exchange.header(b"content-type") or "application/json").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        message = "Unsupported Content-Type. This endpoint accepts 'application/json'; please send that header."
        raise GatewayError(415, message, code="unsupported_content_type")


def _check_model(body: Body) -> None:
    model = body.get("model")
    if model is None or model == "":
        raise GatewayError(400, "you must provide a model parameter")
    if not isinstance(model, str):
        raise invalid_type("model", "a string", model)


def _check_dependencies(body: Body) -> None:
    """Parameters that mean something only beside another."""
    if _is_set(body, "top_logprobs") and body.bytes_of("logprobs") != b"true":
        raise _only_with("top_logprobs", "logprobs")
    if _is_set(body, "stream_options") and body.bytes_of("stream") != b"true":
        raise _only_with("stream_options", "stream")


def _is_set(body: Body, name: str) -> bool:
    return body.bytes_of(name) not in (None, b"null")


def _only_with(name: str, other: str) -> GatewayError:
    message = f"The '{name}' parameter is only allowed when '{other}' is enabled."
    return GatewayError(400, message, param=name)
