"""Drives RequestGuard by hand."""

import time

import msgspec

from crplugins.asgi.scope import make_exchange
from crplugins.core.body import Body
from crplugins.core.errors import GatewayError
from crplugins.plugins.guard.plugin import RequestGuard
from crplugins.testing.asgi import http_scope
from tests.schema.samples import HI


def check(request: bytes | dict, *, strict: bool = False, **headers: str) -> GatewayError | None:
    """What answers a request, which is its bytes, or parameters to be encoded: it is read as every home reads it."""
    exchange = make_exchange(http_scope("POST", "/v1/chat/completions", headers), time.monotonic, lambda: "id")
    try:
        exchange.body = Body.of_request(request if isinstance(request, bytes) else msgspec.json.encode(request))
        RequestGuard(strict=strict).on_request(exchange)
    except GatewayError as error:
        return error
    return None


def with_changes(**changes: object) -> dict:
    return {"model": "m", "messages": [HI], **changes}


def refusal(*, strict: bool = False, **changes: object) -> dict:
    """The error object that answers a good request with these changes."""
    error = check(with_changes(**changes), strict=strict)
    assert error is not None
    assert error.status == 400
    return msgspec.json.decode(error.body())["error"]


def refused(message: str, param: str | None, code: str | None) -> dict:
    return {"message": message, "type": "invalid_request_error", "param": param, "code": code}


def bad_type(param: str, expected: str, got: str) -> dict:
    return refused(f"Invalid type for '{param}': expected {expected}, but got {got} instead.", param, "invalid_type")


def bad_value(param: str, value: str, supported: str) -> dict:
    return refused(f"Invalid value: '{value}'. Supported values are: {supported}.", param, "invalid_value")


def lacking(param: str) -> dict:
    return refused(f"Missing required parameter: '{param}'.", param, "missing_required_parameter")


def out_of_bounds(param: str, bound: str, got: object, kind: str) -> dict:
    """`bound` is `>= 0` or `<= 2`."""
    side, code = ("below minimum", "below_min_value") if bound[0] == ">" else ("above maximum", "above_max_value")
    message = f"Invalid '{param}': {kind} {side} value. Expected a value {bound}, but got {got} instead."
    return refused(message, param, f"{kind}_{code}")


def too_long(param: str, kind: str, maximum: int, length: int) -> dict:
    noun = f"an {kind}" if kind == "array" else f"a {kind}"
    expected = f"Expected {noun} with maximum length {maximum}, but got {noun} with length {length} instead."
    return refused(f"Invalid '{param}': {kind} too long. {expected}", param, f"{kind}_above_max_length")


def empty(param: str, kind: str) -> dict:
    noun = f"an {kind}" if kind == "array" else f"a {kind}"
    expected = f"Expected {noun} with minimum length 1, but got an empty {kind} instead."
    return refused(f"Invalid '{param}': empty {kind}. {expected}", param, f"empty_{kind}")
