"""What a provider's failure, or a refusal of LiteLLM's own, means for the client and for the record."""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import HTTPException
from litellm.proxy._types import ProxyException

from crplugins.core.errors import INVALID_REQUEST, SERVER_ERROR, GatewayError
from crplugins.core.exchange import Exchange
from crplugins.core.outcome import ErrorType
from crplugins.core.redaction import scrub
from crplugins.handlers.litellm.errors import Failures
from crplugins.homes.litellm_proxy.calls import headers_of


class ProxyRefusal(ProxyException):
    """LiteLLM's own class has the status where OpenAI has the code, so the document is written here."""

    def __init__(self, error: GatewayError, headers: dict[str, str] | None = None) -> None:
        shown = error.error
        super().__init__(
            message=shown.message,
            type=shown.type,
            param=shown.param,
            code=error.status,
            headers=headers_of(error) if headers is None else headers,
            openai_code=shown.code,
        )
        self.code = str(error.status)  # ProxyException makes other statuses of some messages
        self.status_code = error.status  # where older releases look for it, and call the rest a 500: /v1/completions
        self.gateway_error = error

    def to_dict(self) -> dict[str, Any]:
        shown = self.gateway_error.error
        return {"message": shown.message, "type": shown.type, "param": shown.param, "code": shown.code}


_OF_ITS_SETTINGS: Final = (
    "litellm", "LiteLLM", "LITELLM", "Fallbacks", "cooldown", "deployment", "Model Group", "model_group", "api_base",
    "_API_KEY",
)  # fmt: skip
_OWN: Final[Mapping[int, ErrorType]] = {401: "unauthenticated", 403: "forbidden_model", 429: "rate_limited"}


class _AlsoHTTPException(HTTPException):
    """Whose constructor takes what ProxyException's hands on: a message, where FastAPI's would have a status."""

    def __init__(self, *message: object) -> None:
        Exception.__init__(self, *message)


class TranslatedFailure(ProxyRefusal, _AlsoHTTPException):  # type: ignore[misc]  # both have headers
    """Our words for a failure. LiteLLM takes an HTTPException from its failure hook, and renders a ProxyException."""

    def __init__(self, error: GatewayError) -> None:
        ProxyRefusal.__init__(self, error)
        self.detail = {"error": self.to_dict()}  # type: ignore[assignment]  # FastAPI's takes any


def status_of(error: BaseException) -> int:
    """The HTTP status an exception of LiteLLM's carries, 500 without one."""
    for name in ("status_code", "code"):
        value: Any = getattr(error, name, None)
        if isinstance(value, int | str) and str(value).isdigit() and 400 <= int(value) < 600:
            return int(value)
    return 500


def reword(error: BaseException, failure: GatewayError) -> None:
    """Put our words into LiteLLM's exception: /v1/messages and /v1/completions render it, whatever a hook returns."""
    for name, value in (("message", failure.error.message), ("status_code", failure.status)):
        if hasattr(error, name):
            setattr(error, name, value)


def failure_of(exchange: Exchange, error: BaseException, *, begun: bool) -> GatewayError:
    """The failure as the client should see it, or as it is seen already where LiteLLM refused by itself."""
    if isinstance(error, ProxyRefusal):
        return error.gateway_error
    if is_own(exchange, error):
        return _of_litellm(status_of(error), str(error))
    failures = Failures(exchange.served_model or "a model", ())
    found = failures.of(error, begun=begun)
    if begun and found.error_type == "upstream_5xx" and not _said_by_provider(error):
        return failures.cut_short(error)  # LiteLLM makes a 500 of a connection that broke
    return found


def _said_by_provider(error: BaseException) -> bool:
    """Whether the provider itself sent an error in its stream."""
    inner = getattr(error, "original_exception", None) or error
    return isinstance(getattr(inner, "body", None), dict)


def is_own(exchange: Exchange, error: BaseException) -> bool:
    """Whether LiteLLM's limits, its router or another callback refused, and no provider."""
    return not exchange.attempts or type(error).__name__.startswith(("Router", "ProxyModelNotFound"))


def _of_litellm(status: int, message: str) -> GatewayError:
    """A refusal of LiteLLM's own, or of another callback. What tells of its deployments and settings is not shown."""
    if any(word in message for word in _OF_ITS_SETTINGS):
        message = "The gateway cannot serve this request now." if status >= 429 else "The gateway refused this request."
    message = scrub(message)
    kind: ErrorType = _OWN.get(status) or ("internal" if status >= 500 else "invalid_request")
    error_type = SERVER_ERROR if status >= 500 else INVALID_REQUEST
    return GatewayError(status, message, type=error_type, error_type=kind)
