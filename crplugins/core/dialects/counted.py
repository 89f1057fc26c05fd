"""Counted: the protocols whose requests and answers pass as they are, and of which only the usage is read.

Their answers are vectors, scores, pictures or sound: nothing in them is read word by word. An answer that is streamed
ends with one event of a known type.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from crplugins.core.delta import Delta
from crplugins.core.dialects.dialect import Dialect, typed_frame
from crplugins.core.lenient_json import NOT_JSON, decode_leniently, struct_of_what_fits
from crplugins.core.reported_usage import ReportedUsage
from crplugins.core.sse import Event
from crplugins.core.units import NO_UNITS, Units
from crplugins.core.wire import AnswerFacts, Choice, LastMadeFacts, MadeFacts, Misshapen

ANSWERED: Final = Choice(0, "stop")
"""The one choice of an answer that says nothing in tokens."""

SOMETHING: Final = Choice(0, None, delta=Delta(content=" "))
"""A piece of an answer that has begun: a picture half drawn, a second of sound."""

Members = Mapping[str, msgspec.Raw] | Mapping[str, Any]

_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_READ: Final = ("usage", "meta", "error", "model", "type", "delta", "duration")


class Counted(Dialect):
    """One of them. An answer has one of the members `answers`; the last event of a stream has one of the types `ends`.

    Nothing is generated that its output could be bounded by, so the input alone is estimated.
    """

    generates = False
    answers: Collection[str] = ("data",)
    ends: Collection[str] = ()

    def read(self, data: bytes) -> AnswerFacts | None:
        """Of a large answer nothing is built but these members."""
        try:
            fields = _members.decode(data)
        except msgspec.ValidationError:
            return Misshapen()
        except NOT_JSON:
            return self._read_leniently(data)
        told: dict[str, Any] = {name: value_of(fields[name]) for name in _READ if name in fields}
        return self._facts(told, fields)

    def _read_leniently(self, data: bytes) -> AnswerFacts | None:
        try:
            fields = decode_leniently(data)
        except NOT_JSON:
            return None
        return self._facts(fields, fields) if isinstance(fields, dict) else Misshapen()

    def _facts(self, told: Mapping[str, Any], members: Members) -> AnswerFacts:
        model, kind = told.get("model"), told.get("type")
        model, usage, error = model if isinstance(model, str) else None, self.usage(told), told.get("error")
        if isinstance(kind, str) and self.ends:  # an event
            if kind in self.ends:
                return LastMadeFacts(model, [ANSWERED], usage, made=self.made(told, members))
            said = self.piece(kind, told, members)
            piece = Choice(0, None, delta=Delta(content=said)) if isinstance(said, str) and said else SOMETHING
            return AnswerFacts(model, None if error is not None or kind == "error" else [piece], usage, error)
        answered = any(name in members for name in self.answers)
        if not answered or error is not None:
            return AnswerFacts(model, None, usage, error)
        return MadeFacts(model, [ANSWERED], usage, made=self.made(told, members))

    def events_of(self, told: Iterable[Mapping[str, Any]]) -> list[Event]:
        """Events of a stream, written and read."""
        return self.splitter().feed(b"".join([typed_frame(each) for each in told]))

    def piece(self, kind: str, told: Mapping[str, Any], members: Members) -> Any:
        """What an event says, if it is a text."""
        return told.get("delta")

    def made(self, told: Mapping[str, Any], members: Members) -> Units:
        """What else than tokens an answer says that it has made or used. `members` as in the answer, or decoded."""
        return NO_UNITS

    def usage(self, told: Mapping[str, Any]) -> ReportedUsage | None:
        """The usage in the members of an answer. One that counts a total alone counts input."""
        usage = struct_of_what_fits(told.get("usage"), ReportedUsage)
        if usage is None or usage.prompt_tokens is not None or usage.input_tokens is not None:
            return usage
        return replace(usage, prompt_tokens=usage.total_tokens)


def value_of(member: Any) -> Any:
    """A member of an answer, decoded; None where it cannot be."""
    if not isinstance(member, msgspec.Raw):
        return member
    try:
        return msgspec.json.decode(member)
    except NOT_JSON:
        return None
