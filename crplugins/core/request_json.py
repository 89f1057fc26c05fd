"""What the JSON of a request must be, so that everybody reads it alike, and in bounded time.

A key that stands twice is the first one to some parsers and the last one to others, and a key in another case is the
same one to some. What the plugins have judged would not be what the upstream serves, so such a request is refused and
never repaired: its sender gets an answer to no other request than the one it sent.

Work for each key or value is done on the event loop. So their number is bounded, and counted at the speed of memory
before anything is built.
"""

import json
import re
from collections.abc import Collection, KeysView, Mapping
from typing import Any, Final

import msgspec

from crplugins.core.errors import GatewayError, invalid_type, kind, unparsable_body
from crplugins.core.parameters import CHAT_PARAMETERS, FURTHER_MODELS, by_normal_form, disguised
from crplugins.core.redaction import one_line

MOST_VALUES: Final = 50_000
"""Strings, and values in arrays and objects, of one request. A conversation of 1,000 turns with tools has 20,000."""

MOST_CHOICES: Final = 128
"""Answers that one request may ask for."""

MOST_PARAMETERS: Final = 200
"""Keys at the top of a request; OpenAI's schema has 37."""

LONGEST_NAME: Final = 256
"""Characters of such a key."""

_SMALL: Final = 64 * 1024
"""Bytes up to which a document cannot hold so much that it has to be counted."""

_LONG: Final = 512
"""Bytes of a text that is left out of the outline. No key that anybody reads is so long."""

_ESCAPED: Final = b"\x7f\x7f"
"""In place of an escaped quote or backslash in the outline; no key that anybody reads has either."""

_NUMBERS: Final = re.compile(rb"\[[0-9, \t\r\n]{32,}+\]")
"""Token numbers: a text of a few thousand tokens has as many."""

TOKEN_MEMBERS: Final = ("input", "prompt")
"""Where they may stand, in embeddings and in completions. Nothing is done for each of them there."""

_FLAGS: Final = (b"true", b"false", b"null")
_COUNTS: Final = ("n", "best_of", "max_tokens", "max_completion_tokens", "max_output_tokens")
_COUNTED: Final = frozenset(_COUNTS)
_OF_OTHERS: Final = frozenset({
    "background", "best_of", "documents", "input", "instructions", "max_output_tokens", "previous_response_id",
    "prompt", "query", "suffix", "svg", "svg[model]", "system",
})  # fmt: skip
"""What decides in other protocols about what a request may do and what it costs."""

_KNOWN: Final = by_normal_form(CHAT_PARAMETERS | FURTHER_MODELS | _OF_OTHERS)
_SHOWN: Final = 100
_any: Final = msgspec.json.Decoder(float_hook=msgspec.Raw)  # numbers stay as they are written
_NOT_JSON: Final = (msgspec.DecodeError, ValueError, RecursionError)


def outline(raw: bytes, tokens: Collection[str] = TOKEN_MEMBERS) -> bytes:
    """The document without its long texts, which is what has to be looked at value by value.

    Under the names `tokens` any number of token numbers counts as one. A short document is returned as it is.
    Raises `GatewayError` 400 for more than `MOST_VALUES` values. Linear, at the speed of memory: nothing is decoded.
    """
    if len(raw) <= _SMALL:
        return raw
    if b"\\" in raw:  # then quotes stand for the ends of texts alone
        raw = raw.replace(b"\\\\", _ESCAPED).replace(b'\\"', _ESCAPED)
    if raw.count(b'"') > 2 * MOST_VALUES:
        raise _too_many_values()
    pieces = raw.split(b'"')  # the second, the fourth ... are texts
    names = [name.encode() for name in tokens]
    pieces[::2] = [
        piece if len(piece) <= _LONG or name not in names else _NUMBERS.sub(b"[0]", piece)
        for name, piece in zip([b"", *pieces[1::2]], pieces[::2], strict=False)
    ]
    if sum([piece.count(b",") for piece in pieces[::2]]) > MOST_VALUES:
        raise _too_many_values()
    pieces[1::2] = [text if len(text) <= _LONG else b"\x7f%d" % place for place, text in enumerate(pieces[1::2])]
    return b'"'.join(pieces)


def check_names(names: KeysView[str]) -> None:
    """Raise `GatewayError` 400 for too many parameters, or for one that is another's name in disguise."""
    if (count := len(names)) > MOST_PARAMETERS:
        message = f"Too many parameters: expected at most {MOST_PARAMETERS}, but got {count} instead."
        raise GatewayError(400, message, code="too_many_parameters")
    if names <= CHAT_PARAMETERS:
        return
    others = [name for name in names if name not in CHAT_PARAMETERS]
    for name in others:
        if len(name) > LONGEST_NAME:
            raise _unknown_parameter(name)
    if (found := disguised(others, _KNOWN)) is not None:
        raise _unknown_parameter(found)


def is_known(name: str) -> bool:
    """Whether plugins or providers read a parameter of this name."""
    return name in CHAT_PARAMETERS or name in _OF_OTHERS


def check_types(fields: Mapping[str, msgspec.Raw]) -> None:
    """Raise `GatewayError` 400 for a model that is no text, a `stream` that is no boolean, a count that is no integer,
    or an `n` beyond all bounds.

    Lax servers take `"true"` and 1 for true, and `"1000"`, 1000.0 and 1e3 for 1000, each of them others. What they
    would answer and what the plugins judge, count and relay would differ. null is as good as nothing.
    """
    model, stream = fields.get("model"), fields.get("stream")
    if model is not None and (raw := bytes(model))[:1] != b'"' and raw != b"null":
        raise invalid_type("model", "a string", raw)
    if stream is not None and bytes(stream) not in _FLAGS:
        raise invalid_type("stream", "a boolean", bytes(stream))
    counts = _COUNTED.intersection(fields)
    for name in counts if len(counts) < 2 else _COUNTS:  # of several faults the first of these is reported
        value = fields.get(name)
        if value is not None and (raw := bytes(value)) != b"null" and kind(raw) != "an integer":
            raise invalid_type(name, "an integer", raw)
    if "n" in counts and (raw := bytes(fields["n"])) != b"null":
        _check_choices(raw)


def _check_choices(raw: bytes) -> None:
    """OpenAI's upper bound: an app that has none would generate as many answers as a client writes. Who asks for none
    at all is told so after what else is wrong, by a RequestGuard or by the model's server."""
    if raw[:1] != b"-" and (len(raw) > len(str(MOST_CHOICES)) or int(raw) > MOST_CHOICES):
        got = one_line(raw.decode(), _SHOWN)
        message = (
            f"Invalid 'n': integer above maximum value. Expected a value <= {MOST_CHOICES}, but got {got} instead."
        )
        raise GatewayError(400, message, param="n", code="integer_above_max_value")


def check_one_model(fields: Mapping[str, msgspec.Raw], *, own_fallbacks: bool = False) -> None:
    """Raise `GatewayError` 400 for a request that names models besides `model`.

    With `own_fallbacks` the protocol has a word for those that its provider chooses, which names none.
    """
    for name in FURTHER_MODELS.intersection(fields):
        value = bytes(fields[name])
        names_none = own_fallbacks and name == "fallbacks" and value == b'"default"'
        if not names_none and value not in (b"null", b"[]", b"{}"):
            message = f"Unsupported parameter: '{name}' is not supported here. Please ask for one model."
            raise GatewayError(400, message, param=name, code="unsupported_parameter")


def check_unique(raw: bytes) -> None:
    """Raise `GatewayError` 400 for a document in which a key stands twice in one object, at any depth.

    `raw` is the outline of a document that has been found to be JSON.

    Written anew, a document without spaces is as long as it was, unless a key was dropped. That takes a few
    microseconds; what has spaces or escapes that are not needed is looked at object by object.
    """
    try:
        size = len(msgspec.json.encode(_any.decode(raw)))
        if size == len(raw) or size == len(msgspec.json.format(raw, indent=-1)):
            return
    except _NOT_JSON:
        pass  # half an emoji, which most parsers take
    try:
        _objects.decode(raw.decode("utf-8", "replace"))
    except _NOT_JSON:
        raise unparsable_body() from None


def _unique(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) == len(pairs):
        return
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise duplicate_key(name)
        seen.add(name)


# Numbers are not converted: those of thousands of digits would take long.
_objects: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_int=str, parse_float=str, strict=False)


def duplicate_key(name: str) -> GatewayError:
    shown = one_line(name, _SHOWN)
    message = f"Duplicate key: '{shown}' is given more than once in one object."
    return GatewayError(400, message, param=shown, code="duplicate_key")


def _unknown_parameter(name: str) -> GatewayError:
    shown = one_line(name, _SHOWN)
    return GatewayError(400, f"Unknown parameter: '{shown}'.", param=shown, code="unknown_parameter")


def _too_many_values() -> GatewayError:
    message = f"The request holds too many values: more than {MOST_VALUES} texts, numbers, arrays and objects."
    return GatewayError(400, message, code="too_many_values")
