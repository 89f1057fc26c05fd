"""To which tool call a fragment of a stream belongs, whatever its server writes as index, id and name.

OpenAI gives each call an index, on every fragment, and an id and a name on the first. Others have no index, give all
parallel calls the index 0, count the index up within one call, have no id, a new one on each fragment, or the name on
each.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from crplugins.core.lenient_json import decode_with_halves, encoded, object_of, objects_of
from crplugins.core.sse import Event


class CallNumbers:
    """The calls of one choice so far.

    Attributes:
        arguments: the pieces of the arguments of each.
        names: what each calls; "" for one that has begun without saying so.
    """

    __slots__ = ("_calls", "_ids", "arguments", "names")

    def __init__(self) -> None:
        self._calls: dict[int, int] = {}  # the server's index of the call under way -> ours
        self._ids: list[str | None] = []
        self.arguments: list[list[str]] = []
        self.names: list[str] = []

    def note(self, index: int, call_id: str | None, name: str | None, arguments: str) -> tuple[int, bool]:
        """The number of the call that a fragment belongs to, and whether it begins it. `index` is the server's, or the
        fragment's place among those of one chunk."""
        number = self._calls.get(index)
        if number is None and name is None and call_id is None and self._last_is_open:
            number = self._calls[index] = len(self.names) - 1  # Nebius and Cerebras count up within a call
        begins = number is None or self._begins(number, call_id, name)
        if number is None or begins:
            number = self._calls[index] = len(self.names)
            self._ids.append(call_id)
            self.names.append(name or "")
            self.arguments.append([])
        self.arguments[number].append(arguments)
        return number, begins

    @property
    def _last_is_open(self) -> bool:
        return bool(self.arguments) and not _is_whole(self.arguments[-1])

    def _begins(self, number: int, call_id: str | None, name: str | None) -> bool:
        """Whether a fragment under an index in use begins another call.

        A call begins with the name of its function. A call whose arguments are whole is over then; a new id without a
        name is the same call still.
        """
        if name is None or (call_id is not None and call_id == self._ids[number]):
            return False
        pieces = self.arguments[number]
        if call_id is None:
            return _is_whole(pieces)
        return name != self.names[number] or _is_whole(pieces) or not any(piece.strip() for piece in pieces)


def _is_whole(pieces: Sequence[str]) -> bool:
    """Whether these are the whole arguments of a call."""
    last = next((piece for piece in reversed(pieces) if piece.strip()), "")
    if not last.rstrip().endswith("}"):  # most fragments, which need not be joined to be decoded
        return False
    try:
        return isinstance(msgspec.json.decode("".join(pieces)), dict)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return False


def index_of(call: Mapping[str, Any], place: int) -> int:
    """The server's index of a fragment's call; its place in the chunk where it has none."""
    index = call.get("index")
    return index if isinstance(index, int) else place


def lack_an_index(calls: Any) -> bool:
    """Whether fragments of calls have no index."""
    return any(not isinstance(call.get("index"), int) for call in objects_of(calls))


class NumberedCalls:
    """Gives the fragments of one stream the index without which most clients lose arguments, or join two calls."""

    __slots__ = ("_choices",)

    def __init__(self) -> None:
        self._choices: Final[dict[int, CallNumbers]] = {}

    def numbered(self, event: Event) -> Event:
        """The chunk with the index of each of its fragments."""
        if event.answer is None or not any(each.delta and each.delta.tool_calls for each in event.answer.choices or ()):
            return event
        chunk = object_of(decode_with_halves(event.data or b""))
        for choice in objects_of(chunk.get("choices")):
            numbers = self._choices.setdefault(index_of(choice, 0), CallNumbers())
            for place, call in enumerate(objects_of(object_of(choice.get("delta")).get("tool_calls"))):
                function = object_of(call.get("function"))
                name, arguments = function.get("name") or None, function.get("arguments")
                text = arguments if isinstance(arguments, str) else ""
                call["index"], _ = numbers.note(index_of(call, place), call.get("id") or None, name, text)
        return event.with_data(encoded(chunk))
