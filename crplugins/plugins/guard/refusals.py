"""Refusals of a request with OpenAI's messages: recordings of api.openai.com, or their pattern if there is none."""

from collections.abc import Sequence
from typing import Final

from crplugins.core.errors import GatewayError

_SHOWN: Final = 100
"""Characters of a client's value in an answer, so that a refusal is never as large as the request."""


def unknown_parameter(path: str) -> GatewayError:
    return GatewayError(400, f"Unknown parameter: '{path}'.", param=path, code="unknown_parameter")


def missing(path: str) -> GatewayError:
    return GatewayError(400, f"Missing required parameter: '{path}'.", param=path, code="missing_required_parameter")


def missing_any(paths: Sequence[str]) -> GatewayError:
    """None of several parameters is there, any of which would do."""
    message = f"One of {listed(paths, 'or')} must be provided."
    return GatewayError(400, message, param=paths[0], code="missing_required_parameter")


def unsupported_value(path: str, value: str, values: Sequence[str]) -> GatewayError:
    message = f"Invalid value: '{shortened(value)}'. Supported values are: {listed(values, 'and')}."
    return GatewayError(400, message, param=path, code="invalid_value")


def below_minimum(path: str, noun: str, minimum: float, raw: bytes) -> GatewayError:
    problem = f"{noun} below minimum value. Expected a value >= {minimum}, but got {_as_sent(raw)} instead."
    return _invalid(path, problem, f"{noun}_below_min_value")


def above_maximum(path: str, noun: str, maximum: float, raw: bytes) -> GatewayError:
    problem = f"{noun} above maximum value. Expected a value <= {maximum}, but got {_as_sent(raw)} instead."
    return _invalid(path, problem, f"{noun}_above_max_value")


def empty(path: str, noun: str, minimum: int) -> GatewayError:
    """For an empty `array` or `string` that needs at least `minimum` items or characters."""
    problem = f"empty {noun}. Expected {_a(noun)} with minimum length {minimum}, but got an empty {noun} instead."
    return _invalid(path, problem, f"empty_{noun}")


def too_long(path: str, noun: str, maximum: int, length: int) -> GatewayError:
    expected = f"Expected {_a(noun)} with maximum length {maximum}, but got {_a(noun)} with length {length} instead."
    return _invalid(path, f"{noun} too long. {expected}", f"{noun}_above_max_length")


def no_match(path: str, pattern: str) -> GatewayError:
    expected = f"Expected a string that matches the pattern '{pattern}'."
    return _invalid(path, f"string does not match pattern. {expected}", "invalid_value")


def too_many_properties(path: str, maximum: int, count: int) -> GatewayError:
    expected = f"Expected an object with at most {maximum} properties, but got an object with {count} properties"
    return _invalid(path, f"too many properties. {expected} instead.", "object_above_max_properties")


def property_name_too_long(path: str, name: str, maximum: int) -> GatewayError:
    message = (
        f"Invalid property name in '{path}': '{name[:3]}...{name[-3:]}' is too long. Expected a string with maximum "
        f"length {maximum}, but got a string with length {len(name)} instead."
    )
    return GatewayError(400, message, param=f"{path}.{shortened(name)}", code="property_name_above_max_length")


def tool_without_call(index: int) -> GatewayError:
    return GatewayError(
        400,
        "Invalid parameter: messages with role 'tool' must be a response to a preceding message with 'tool_calls'.",
        param=f"messages.[{index}].role",
    )


def no_content(index: int) -> GatewayError:
    message = "Invalid value for 'content': expected a string, got null."
    return GatewayError(400, message, param=f"messages.[{index}].content")


def only_allowed_with(name: str, other: str) -> GatewayError:
    message = f"The '{name}' parameter is only allowed when '{other}' is enabled."
    return GatewayError(400, message, param=name)


def listed(values: Sequence[str], conjunction: str) -> str:
    """`'a'`, `'a' and 'b'`, `'a', 'b', and 'c'`."""
    *rest, last = [f"'{value}'" for value in values]
    if len(rest) < 2:
        return f" {conjunction} ".join([*rest, last])
    return f"{', '.join(rest)}, {conjunction} {last}"


def shortened(value: str) -> str:
    return value if len(value) <= _SHOWN else value[:_SHOWN] + "..."


def _invalid(path: str, problem: str, code: str) -> GatewayError:
    return GatewayError(400, f"Invalid '{path}': {problem}", param=path, code=code)


def _as_sent(raw: bytes) -> str:
    """A number as the client wrote it."""
    return shortened(raw.decode())


def _a(noun: str) -> str:
    return f"an {noun}" if noun == "array" else f"a {noun}"
