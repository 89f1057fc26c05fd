"""The fields of OpenAI's chat completions format that we read and write.

Partial structs: msgspec checks that the whole document is JSON but builds only what is named here. Field types are
as lax as providers are (null where OpenAI has an object, floats beside counts), because a stricter reader would lose
the usage of a whole stream over one odd key.
"""

from typing import Any, Final

import msgspec

CHAT_PATH: Final = "/chat/completions"
"""What a chat completions path ends with, whatever its prefix."""


class TokenDetails(msgspec.Struct):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class Usage(msgspec.Struct):
    """Token counts as a provider reports them."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: TokenDetails | None = None
    completion_tokens_details: TokenDetails | None = None


class Choice(msgspec.Struct):
    index: int = 0
    finish_reason: str | None = None


class Answer(msgspec.Struct):
    """A full answer or one chunk of a streamed one: the facts every request keeps."""

    choices: list[Choice] | None = None
    usage: Usage | None = None
    error: Any = None


class _Lax(msgspec.Struct):
    choices: Any = None
    usage: Any = None
    error: Any = None


_USAGE_FIELDS = msgspec.structs.fields(Usage)
_answer = msgspec.json.Decoder(Answer)
_lax = msgspec.json.Decoder(_Lax)


def read_answer(data: bytes) -> Answer:
    """The facts of a chunk or a full answer; a field of an unexpected shape counts as absent.

    Raises `msgspec.DecodeError` if `data` is not a JSON object.
    """
    try:
        return _answer.decode(data)
    except msgspec.ValidationError:
        return _read_leniently(data)


def _read_leniently(data: bytes) -> Answer:
    lax = _lax.decode(data)
    return Answer(
        choices=_choices(lax.choices),
        usage=_usage(lax.usage),
        error=lax.error,
    )


def _choices(value: Any) -> list[Choice] | None:
    if not isinstance(value, list):
        return None
    return [choice for item in value if (choice := _convert(item, Choice)) is not None]


def _usage(value: Any) -> Usage | None:
    if not isinstance(value, dict):
        return None
    return Usage(**{field.name: _convert(value.get(field.name), field.type) for field in _USAGE_FIELDS})


def _convert(value: Any, type: Any) -> Any:
    try:
        return msgspec.convert(value, type, strict=False)
    except msgspec.ValidationError:
        return None
