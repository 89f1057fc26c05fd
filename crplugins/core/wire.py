"""The fields of OpenAI's chat completions format that we read and write; those of `usage` are in `reported_usage`.

Partial structs: msgspec checks that the whole document is JSON but builds only what is named here. Field types are
as lax as providers are (null where OpenAI has an object, floats beside counts), because a stricter reader would lose
the usage of a whole stream over one odd key.
"""

from typing import Any, ClassVar, Final

import msgspec
from msgspec import UNSET, UnsetType

from crplugins.core.delta import Delta
from crplugins.core.errors_in_answers import error_in_answer, says_something
from crplugins.core.finish_reasons import reason_in
from crplugins.core.lenient_json import strict_json, struct_of_what_fits
from crplugins.core.reported_usage import ReportedUsage
from crplugins.core.units import NO_UNITS, Units
from crplugins.core.usage import TokenUsage


class Choice(msgspec.Struct):
    """`finish_reason` is UNSET without its key, which some providers never send. `error` is OpenRouter's, `text` that
    of completions, which some servers have in a chat too."""

    index: int = 0
    finish_reason: str | UnsetType | None = UNSET
    delta: Delta | None = None
    message: Delta | None = None
    usage: ReportedUsage | None = None  # Moonshot's Kimi, on the last chunk
    error: Any = None
    text: Any = None


class GroqUsage(msgspec.Struct):
    """Where Groq reported usage, for a time nowhere else."""

    usage: ReportedUsage | None = None


class AnswerFacts(msgspec.Struct, frozen=True):
    """A full answer or one chunk of a streamed one: the facts every request keeps."""

    model: str | None = None
    choices: list[Choice] | None = None
    usage: ReportedUsage | None = None
    error: Any = None
    x_groq: GroqUsage | None = None
    service_tier: str | None = None

    ends: ClassVar[bool] = False
    """It is the end mark of a stream."""

    made: ClassVar[Units | None] = None
    """What else than tokens was made, or used, by number."""

    searches: ClassVar[int] = 0
    """How many searches of the web, which its provider charges for, are over with it."""

    @property
    def counted(self) -> TokenUsage | None:
        """The provider's token counts, if it gave any here."""
        if self.usage is not None and (counted := self.usage.counted()) is not None:
            return counted
        if self.x_groq is not None and self.x_groq.usage is not None:
            return self.x_groq.usage.counted()
        for choice in self.choices or ():
            if choice.usage is not None and (counted := choice.usage.counted()) is not None:
                return counted
        return None

    @property
    def is_empty(self) -> bool:
        """No choices, usage or error: a sign of life, and no part of an answer. Azure's `choices: []` is one."""
        return self.choices is None and self.error is None and self.usage is None and self.x_groq is None

    def says(self) -> bool:
        """Whether something is said here."""
        for choice in self.choices or ():
            said = choice.delta or choice.message
            if said is not None and (said.content or said.says()):
                return True
        return False


class LastFacts(AnswerFacts, frozen=True):
    """Of the event that is the end mark of a stream, in protocols that have another than `[DONE]`."""

    ends: ClassVar[bool] = True


class MadeFacts(AnswerFacts, frozen=True):
    """Of an answer of which something else than tokens is charged: pictures, a recording, sound."""

    made: Units = NO_UNITS  # type: ignore[misc]  # of each its own


class LastMadeFacts(LastFacts, frozen=True):
    """The same of the event that is the end mark of a stream."""

    made: Units = NO_UNITS  # type: ignore[misc]


class SearchFacts(AnswerFacts, frozen=True):
    """Of the event by which a provider says that it has searched the web."""

    searches: ClassVar[int] = 1


class ProgressFacts(AnswerFacts, frozen=True):
    """Of an event by which a provider says how far a tool has come that it runs for the answer: a search, a picture.

    It has been at work, so no other one is asked in its place, and it goes on being so without a word of the answer.
    """

    def says(self) -> bool:
        return True


class UnnamedErrorFacts(AnswerFacts, frozen=True):
    """Of an error that is told in other members than `error`, where no client looks for it."""


class EmptyErrorFacts(AnswerFacts, frozen=True):
    """Of a chunk with an `error` that says nothing, which OpenAI's SDKs take for one if it has members."""


class OddFacts(AnswerFacts, frozen=True):
    """Of a chunk or an answer whose choices are numbered, or end, in another form than a number and a word."""


class Misshapen(AnswerFacts, frozen=True):
    """Of JSON that is neither a chunk nor an answer nor a sign of life: a text, a number, `choices` that are none."""


def plain_text(answer: AnswerFacts) -> str | None:
    """The text of a chunk that is nothing but text of one choice, which it does not end: as nearly every chunk is.

    None for any other: one that says something in another way too, that counts, or that has an error.
    """
    choices = answer.choices
    if choices is None or len(choices) != 1 or answer.__class__ is not AnswerFacts:
        return None
    choice = choices[0]
    if choice.delta is None or choice.finish_reason or choice.usage is not None:
        return None
    text = choice.delta.content
    if not text or text.__class__ is not str or choice.delta != Delta(text):
        return None
    return text if answer.usage is None and answer.error is None and answer.x_groq is None else None


class _Lax(msgspec.Struct):
    model: Any = None
    choices: Any = None
    usage: Any = None
    error: Any = None
    x_groq: Any = None
    service_tier: Any = None


_answer = msgspec.json.Decoder(AnswerFacts)
_lax: Final = msgspec.json.Decoder(_Lax | list[Any] | str | int | float | bool | None)


def read_answer(data: bytes) -> AnswerFacts:
    """The facts of a chunk or a full answer; a field of an unexpected shape counts as absent.

    Of a list, the error of its first object counts, as Google sends them. Other JSON than an object says nothing, and
    but for null and an empty list it is `Misshapen`, as is an object whose `choices` are no list of objects.

    Raises `msgspec.DecodeError` if `data` is not JSON to any client.
    """
    try:
        answer = _answer.decode(data)
    except msgspec.DecodeError:
        answer = _read_leniently(data)
    if answer.error is None:
        return answer if answer.choices or answer.usage is not None else _with_error_inside(answer, data)
    if says_something(answer.error):
        return answer
    return EmptyErrorFacts(answer.model, answer.choices, answer.usage, None, answer.x_groq, answer.service_tier)


def _with_error_inside(answer: AnswerFacts, data: bytes) -> AnswerFacts:
    """The facts of what is no part of an answer, which may be an error that is told in another way."""
    if answer.__class__ is not AnswerFacts or (error := error_in_answer(data)) is None:
        return answer
    return UnnamedErrorFacts(answer.model, answer.choices, error=error)


def _read_leniently(data: bytes) -> AnswerFacts:
    try:
        lax = _lax.decode(data)
    except msgspec.DecodeError:
        lax = _lax.decode(strict_json(data))
    if isinstance(lax, list):
        first = lax[0] if lax else None
        error = first.get("error") if isinstance(first, dict) else None
        return AnswerFacts(error=error) if error is not None or not lax else Misshapen()
    if not isinstance(lax, _Lax):
        return AnswerFacts() if lax is None else Misshapen()
    groq = lax.x_groq.get("usage") if isinstance(lax.x_groq, dict) else None
    facts = (OddFacts if _are_odd(lax.choices) else AnswerFacts) if _are_choices(lax.choices) else Misshapen
    return facts(
        model=lax.model if isinstance(lax.model, str) else None,
        choices=_choices(lax.choices),
        usage=struct_of_what_fits(lax.usage, ReportedUsage),
        error=lax.error,
        x_groq=GroqUsage(struct_of_what_fits(groq, ReportedUsage)) if groq is not None else None,
        service_tier=lax.service_tier if isinstance(lax.service_tier, str) else None,
    )


def _are_choices(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(item, dict) for item in value))


def _are_odd(choices: Any) -> bool:
    return any(
        not isinstance(choice.get("index", 0), int) or isinstance(choice.get("finish_reason"), dict)
        for choice in choices or ()
    )


def _choices(value: Any) -> list[Choice] | None:
    if not isinstance(value, list):
        return None
    choices: list[Choice] = []
    for item in value:
        choice = struct_of_what_fits(item, Choice)
        if choice is not None:
            if choice.finish_reason is UNSET and "finish_reason" in item:
                reason = reason_in(item["finish_reason"])
                choice.finish_reason = reason if isinstance(reason, str) else None
            choices.append(choice)
    return choices
