"""What is wrong with a value, in sentences of ours: those of pydantic name types that a file does not have."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from crplugins.settings.errors import KeyPath, Problem, did_you_mean, nearest


def wrong_values(error: ValidationError) -> Iterator[Problem]:
    """What pydantic found, one problem each."""
    for details in error.errors(include_url=False):
        below: KeyPath = details.get("ctx", {}).get("below", ())
        yield Problem((*details["loc"], *below), _message(details))


def _message(details: ErrorDetails) -> str:
    kind = details["type"]
    context = details.get("ctx", {})
    if kind == "refused":
        return str(context["text"])
    if kind in _EXPECTED:
        return f"must be {_EXPECTED[kind]}{_but_is(details['input'])}"
    say = _SAYINGS.get(kind)
    return say(details, context) if say else "is not valid"


def _but_is(value: Any) -> str:
    for kind, name in _KINDS.items():
        if isinstance(value, kind):
            return f", not {name}"
    return ""


def _missing(details: ErrorDetails, _context: Mapping[str, Any]) -> str:
    key = str(details["loc"][-1])
    instead = nearest(key, details["input"]) if isinstance(details["input"], Mapping) else None
    return f"is missing; is '{instead}' meant to be it?" if instead else "is missing"


def _choice(details: ErrorDetails, context: Mapping[str, Any]) -> str:
    options = str(context["expected"]).replace("'", "").replace(" or ", ", ").split(", ")
    value = details["input"]
    return f"must be one of {', '.join(options)}" + (did_you_mean(value, options) if isinstance(value, str) else "")


_EXPECTED: Final[Mapping[str, str]] = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "model_type": "a mapping",
    "dict_type": "a mapping",
}

_SAYINGS: Final[Mapping[str, Callable[[ErrorDetails, Mapping[str, Any]], str]]] = {
    "missing": _missing,
    "int_from_float": lambda _details, _context: "must be a whole number",
    "finite_number": lambda _details, _context: "must be a finite number",
    "literal_error": _choice,
    "string_too_short": lambda _details, _context: "must not be empty",
    "too_short": lambda _details, context: f"must have {context['min_length']} characters or more",
    "greater_than": lambda _details, context: f"must be more than {context['gt']:g}",
    "greater_than_equal": lambda _details, context: f"must be at least {context['ge']:g}",
    "less_than_equal": lambda _details, context: f"must be at most {context['le']:g}",
}

_KINDS: Final[Mapping[type, str]] = {
    type(None): "empty",
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "text",
    Mapping: "a mapping",
    list: "a list",
    tuple: "a list",
}
