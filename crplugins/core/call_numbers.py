"""To which tool call a fragment of a stream belongs, whatever its server writes as index, id and name.

OpenAI gives each call an index, counted from 0, on every fragment, and an id and a name on the first one alone. Others
have no index, give all parallel calls the index 0, count from 1, count the index up within one call, write it as text,
have no id, a new one on each fragment, or the name on each, and tell a call that is whole once more at the end.
"""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from crplugins.core.lenient_json import decode_with_halves, encoded, object_of, objects_of
from crplugins.core.sse import Event
from crplugins.core.wire import AnswerFacts

_MOST_LOOKS: Final = 1000
"""How often the arguments of one choice are put together to see whether they are told once more."""


class Placed(NamedTuple):
    """Where a fragment belongs.

    Attributes:
        number: the number of its call.
        begins: it is the first one of it.
        again: all it says has been said before.
        names: the name in it has not been said before.
    """

    number: int
    begins: bool = False
    again: bool = False
    names: bool = False


class CallNumbers:
    """The calls of one choice so far.

    Attributes:
        arguments: the pieces of the arguments of each.
        names: what each calls; "" for one that has begun without saying so.
    """

    __slots__ = ("_by_id", "_calls", "_ids", "_looks", "arguments", "names")

    def __init__(self) -> None:
        self._calls: dict[int, int] = {}  # the server's index of the call under way -> ours
        self._by_id: dict[str, int] = {}
        self._ids: list[str | None] = []
        self._looks = 0
        self.arguments: list[list[str]] = []
        self.names: list[str] = []

    def note(self, index: int, call_id: str | None, name: str | None, arguments: str) -> Placed:
        """The call that a fragment belongs to. `index` is the server's, or the fragment's place among those of one
        chunk."""
        number = self._number(index, call_id, name)
        if number is not None and call_id in (None, self._ids[number]) and self._is_again(number, name, arguments):
            self._calls[index] = number
            return Placed(number, again=True)
        if number is None or self._begins(index, number, call_id, name):
            number = self._calls[index] = len(self.names)
            self._ids.append(None)
            self.names.append(name or "")
            self.arguments.append([arguments])
            self._identify(number, call_id)
            return Placed(number, begins=True, names=bool(name))
        self._calls[index] = number
        self._identify(number, call_id)
        names = bool(name) and name != self.names[number] and not any(self.arguments[number])
        if names:  # it comes late, or in pieces
            self.names[number] += name or ""
        self.arguments[number].append(arguments)
        return Placed(number, names=names)

    def continues(self, index: object, arguments: object) -> bool:
        """Notes a fragment that is nothing but a further piece of the arguments of a call, as nearly every one is: True
        for one that is, under a number that is ours too."""
        if index.__class__ is not int or not isinstance(arguments, str) or arguments.lstrip()[:1] == "{":
            return False
        number = self._calls.get(index)
        if number != index:
            return False
        self.arguments[number].append(arguments)
        return True

    def _identify(self, number: int, call_id: str | None) -> None:
        if call_id is not None:
            self._by_id[call_id] = number
            if self._ids[number] is None:
                self._ids[number] = call_id

    def _number(self, index: int, call_id: str | None, name: str | None) -> int | None:
        """The call that a fragment is of, if it is of one that has begun."""
        number = self._calls.get(index)
        if call_id is not None and (number is None or call_id != self._ids[number]):
            number = self._by_id.get(call_id, number)
        if number is None and name is None and call_id is None and self._last_is_open:
            return len(self.names) - 1  # Nebius and Cerebras count up within a call
        return number

    @property
    def _last_is_open(self) -> bool:
        return bool(self.arguments) and not _is_whole(self.arguments[-1])

    def _begins(self, index: int, number: int, call_id: str | None, name: str | None) -> bool:
        """Whether a fragment that could be of this call begins another one.

        A call begins with the name of its function. A call whose arguments are whole is over then; a new id without a
        name is the same call still. Two calls under two numbers are two, if their server gives them one id.
        """
        if name is None or not self.names[number]:
            return False
        pieces = self.arguments[number]
        if call_id is None:
            return _is_whole(pieces)
        if call_id == self._ids[number]:
            return self._calls.get(index) != number and (name != self.names[number] or _is_whole(pieces))
        return name != self.names[number] or _is_whole(pieces) or not any(piece.strip() for piece in pieces)

    def _is_again(self, number: int, name: str | None, arguments: str) -> bool:
        """Whether a call that is whole is told once more, as some servers do beside the finish reason."""
        if name is not None and name != self.names[number]:
            return False
        told = arguments.strip()
        if not (told.startswith("{") and told.endswith("}")) or self._looks >= _MOST_LOOKS:
            return False
        pieces = self.arguments[number]
        if not _ends_an_object(pieces):
            return False
        self._looks += 1
        before = _object_in(pieces)
        return before is not None and before == _object_in([told])


def _ends_an_object(pieces: Sequence[str]) -> bool:
    last = next((piece for piece in reversed(pieces) if piece.strip()), "")
    return last.rstrip().endswith("}")


def _is_whole(pieces: Sequence[str]) -> bool:
    """Whether these are the whole arguments of a call. Most fragments need not be joined to be decoded."""
    return _ends_an_object(pieces) and _object_in(pieces) is not None


def _object_in(pieces: Sequence[str]) -> dict[str, Any] | None:
    try:
        value = msgspec.json.decode("".join(pieces))
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def index_of(call: Mapping[str, Any], place: int) -> int:
    """The server's index of a fragment's call, also where it is written as a text; its place in the chunk where it has
    none."""
    index = call.get("index")
    if index.__class__ is int:
        return int(index)
    if isinstance(index, str) and index.isascii() and index.isdigit() and len(index) < _LONGEST_INDEX:
        return int(index)
    return int(index) if isinstance(index, float) and index.is_integer() else place


_LONGEST_INDEX: Final = 10


class CallIds:
    """The ids of the calls of one answer: each has one, and no two the same one, as results are told by them."""

    __slots__ = ("_given",)

    def __init__(self) -> None:
        self._given: Final[set[str]] = set()

    def of(self, told: object) -> str:
        """The id of a call that begins, of which its server has told this."""
        call_id = told if isinstance(told, str) and told and told not in self._given else f"call_{uuid.uuid4().hex}"
        self._given.add(call_id)
        return call_id


class CallRepair:
    """Makes the fragments of one choice's calls what OpenAI sends, without which clients join two calls, lose the
    arguments of one or repeat its name."""

    __slots__ = ("_ids", "_numbers")

    def __init__(self) -> None:
        self._numbers: Final = CallNumbers()
        self._ids: Final = CallIds()

    def continues(self, call: Any) -> bool:
        """Whether a fragment is nothing but a further piece of a call, and as OpenAI sends it. If so, it is noted."""
        if call.__class__ is not dict or call.get("id"):
            return False
        function = call.get("function")
        if function.__class__ is not dict or function.get("name"):
            return False
        return self._numbers.continues(call.get("index"), function.get("arguments"))

    def repaired(self, calls: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """The fragments of one chunk. Those that are as OpenAI sends them are the same objects."""
        repaired = (self._repaired(call, place) for place, call in enumerate(calls))
        return [call for call in repaired if call is not None]

    def _repaired(self, call: Mapping[str, Any], place: int) -> Mapping[str, Any] | None:
        kind = "custom" if isinstance(call.get("custom"), dict) else "function"
        function = object_of(call.get(kind))
        told = "input" if kind == "custom" else "arguments"
        call_id, name, arguments = call.get("id") or None, function.get("name") or None, function.get(told)
        changes: dict[str, Any] = {}
        said_again = set[str]()  # left out: clients that replace what is there would lose the name to a null
        if arguments is not None and not isinstance(arguments, str):  # a few providers send the object itself
            arguments = encoded(arguments).decode()
            changes[told] = arguments
        call_id, name = call_id if isinstance(call_id, str) else None, name if isinstance(name, str) else None
        placed = self._numbers.note(index_of(call, place), call_id, name, arguments or "")
        if placed.again:
            return None
        if name is not None and not placed.names:
            said_again.add("name")
        outer: dict[str, Any] = {}
        if changes or said_again:
            outer[kind] = {key: value for key, value in (function | changes).items() if key not in said_again}
        if call.get("index") != placed.number or call["index"].__class__ is not int:
            outer["index"] = placed.number
        if placed.begins:
            if (given := self._ids.of(call_id)) != call_id:
                outer["id"] = given
            if not call.get("type"):
                outer["type"] = kind
        elif call_id is not None:
            return {key: value for key, value in {**call, **outer}.items() if key != "id"}
        return {**call, **outer} if outer else call


class RepairedCalls:
    """The same for all choices of one stream."""

    __slots__ = ("_choices",)

    def __init__(self) -> None:
        self._choices: Final[dict[int, CallRepair]] = {}

    def continues(self, answer: AnswerFacts) -> bool:
        """Whether a chunk of one choice is nothing but a further piece of one call, as OpenAI sends it. If so, it is
        noted."""
        if not answer.choices or answer.usage is not None or answer.error is not None:
            return False
        choice = answer.choices[0]
        delta = choice.delta
        if delta is None or choice.finish_reason or delta.tool_calls.__class__ is not list:
            return False
        repair = self._choices.get(choice.index)
        return repair is not None and len(delta.tool_calls) == 1 and repair.continues(delta.tool_calls[0])

    def of(self, choice: int, calls: Any) -> list[Mapping[str, Any]] | None:
        """The fragments in a chunk of a choice; None where they are as OpenAI sends them."""
        fragments = objects_of(calls if isinstance(calls, list) else [calls])
        repair = self._choices.get(choice)
        if repair is None:
            repair = self._choices[choice] = CallRepair()
        repaired = repair.repaired(fragments)
        is_same = isinstance(calls, list) and len(repaired) == len(calls) and all(map(_is_same, repaired, calls))
        return None if is_same else repaired

    def in_chunk(self, event: Event) -> Event:
        """The chunk with its fragments repaired; the same object where nothing is wrong with them."""
        assert event.answer is not None
        choices = event.answer.choices or ()
        found = [
            self.of(choice.index, choice.delta.tool_calls)
            if choice.delta is not None and choice.delta.tool_calls
            else None
            for choice in choices
        ]
        if all(calls is None for calls in found):
            return event
        chunk = object_of(decode_with_halves(event.data or b""))
        for choice, calls in zip(objects_of(chunk.get("choices")), found, strict=True):
            if calls:
                choice["delta"]["tool_calls"] = calls
            elif calls is not None:
                del choice["delta"]["tool_calls"]
        return event.with_data(encoded(chunk))


def _is_same(one: object, other: object) -> bool:
    return one is other


def whole_calls(calls: Any) -> list[dict[str, Any]] | None:
    """The calls of a whole answer as OpenAI tells them: each with an id, a type and a text of arguments. None where
    they are so."""
    if not isinstance(calls, list) or (
        all(map(_is_usual, calls)) and len({call["id"] for call in calls}) == len(calls)
    ):
        return None
    ids = CallIds()
    return [_usual(call, ids.of(call.get("id"))) for call in objects_of(calls)]


def _is_usual(call: Any) -> bool:
    if not isinstance(call, dict) or not (isinstance(call.get("id"), str) and call["id"] and call.get("type")):
        return False
    function = call.get("function")
    return "custom" in call or (isinstance(function, dict) and isinstance(function.get("arguments"), str))


def _usual(call: dict[str, Any], call_id: str) -> dict[str, Any]:
    if "custom" in call:
        return {**call, "id": call_id, "type": "custom"}
    function = object_of(call.get("function"))
    arguments = function.get("arguments")
    if not isinstance(arguments, str):  # a few providers send the object itself
        function = {**function, "arguments": "{}" if arguments is None else encoded(arguments).decode()}
    return {**call, "id": call_id, "type": "function", "function": function}
