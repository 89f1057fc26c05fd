"""HoldBack: the text of an answer for plugins that must see what a stream cuts in two, before the client sees it.

class NoSecrets(Plugin):
    rewrites_events = True

    def __init__(self) -> None:
        self._text = HoldBack(self._settle)

    def on_event(self, exchange: Exchange, event: Event) -> Event:
        return self._text.event(exchange, event)

    def on_end(self, exchange: Exchange) -> Iterable[Event]:
        return self._text.rest(exchange)

    def on_cut(self, exchange: Exchange) -> Iterable[Event]:
        return self._text.rest(exchange)

    def _settle(self, text: str, *, last: bool) -> tuple[str, str]:
        start = len(text) if last else text.rfind(" ") + 1  # an unfinished word may still become one
        return text[:start].replace("hunter2", "*******"), text[start:]
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

from crplugins.core.exchange import Exchange, Slot
from crplugins.core.sse import Event
from crplugins.core.wire import Choice

MOST_HELD: Final = 65_536
"""Characters of one choice; more than that is settled as if nothing followed."""

_ENVELOPE: Final = ("id", "object", "created", "model", "system_fingerprint")


class Settle(Protocol):
    """What becomes of text that has not gone out."""

    def __call__(self, text: str, *, last: bool) -> tuple[str, str]:
        """What may go out now, as it is to be, and the end of the text that is still open, unchanged: that comes again
        with what follows. Nothing follows the `last` text of a choice, so nothing of it stays open."""


@dataclass(slots=True)
class _Held:
    """What of a request's answer has not gone out.

    Attributes:
        texts: by the index of the choice.
        envelope: what the chunks of this stream have in common.
    """

    texts: dict[int, str] = field(default_factory=dict)
    envelope: dict[str, Any] = field(default_factory=dict)


class _Place(NamedTuple):
    """Where a text stands in a decoded answer."""

    holder: dict[str, Any]
    name: str


class HoldBack:
    """Holds the end of each choice's text back until `settle` knows what to make of it.

    Text is `content`, also in parts. Tool calls, thoughts and refusals pass as they are; before a tool call, and with
    the finish reason of its choice, what is held goes out, so that the order stays. The `logprobs` of a text that is
    changed or held are taken out: they spell it. An event in which nothing changes stays the same object.

    Made once, in the constructor of a plugin; what belongs to a request is kept at the request.
    """

    def __init__(self, settle: Settle) -> None:
        self._settle = settle
        self._slot: Final[Slot[_Held]] = Slot("hold_back")

    def event(self, exchange: Exchange, event: Event) -> Event:
        """The event as it may go out now. For `on_event`."""
        if event.data is None or event.answer is None or not event.answer.choices:
            return event
        held = self._slot.get(exchange)
        if held is None:
            self._slot.set(exchange, held := _Held())
        if not any(map(_concerns, event.answer.choices)) and not held.texts:
            return event
        answer = json.loads(event.data)
        if not event.document:
            held.envelope = {name: answer[name] for name in _ENVELOPE if name in answer}
        changed = [self._choice(held, choice, whole=event.document) for choice in answer["choices"]]
        return event.with_data(json.dumps(answer, ensure_ascii=False).encode()) if any(changed) else event

    def rest(self, exchange: Exchange) -> Iterator[Event]:
        """What is held when the stream is over, as events to add. For `on_end` and `on_cut`."""
        held = self._slot.get(exchange)
        if held is None:
            return
        for index, text in held.texts.items():
            if settled := self._settle(text, last=True)[0]:
                choice = {"index": index, "delta": {"content": settled}, "finish_reason": None}
                yield Event.of(json.dumps({**held.envelope, "choices": [choice]}, ensure_ascii=False).encode())
        held.texts = {}

    def _choice(self, held: _Held, choice: Any, *, whole: bool) -> bool:
        """Whether anything of the choice has changed."""
        part = _part_of(choice)
        if part is None:
            return False
        index = choice.get("index", 0)
        before = held.texts.pop(index, "")
        last = whole or bool(choice.get("finish_reason") or part.get("tool_calls") or part.get("function_call"))
        places = list(_places(part))
        if not places:
            if not (before and last):
                if before:
                    held.texts[index] = before
                return False
            part["content"] = ""
            places = [_Place(part, "content")]
        open_text, changed = before, False
        for number, place in enumerate(places):
            text = place.holder[place.name]
            settled, open_text = self._settled(open_text + text, last=last and number == len(places) - 1)
            changed |= settled != text
            place.holder[place.name] = settled
        if open_text:
            held.texts[index] = open_text
        if changed and choice.get("logprobs"):
            choice["logprobs"] = None
        return changed

    def _settled(self, text: str, *, last: bool) -> tuple[str, str]:
        settled, open_text = self._settle(text, last=last)
        if len(open_text) > MOST_HELD:
            settled, open_text = self._settle(text, last=True)
        return settled, "" if last else open_text


def _concerns(choice: Choice) -> bool:
    part = choice.message or choice.delta
    return part is not None and bool(part.content)


def _part_of(choice: Any) -> dict[str, Any] | None:
    """The `delta` of a chunk, or the `message` of a plain answer."""
    if not isinstance(choice, dict) or not isinstance(choice.get("index", 0), int):
        return None
    found = choice.get("message") or choice.get("delta")
    if found is None and choice.get("finish_reason"):  # a chunk of some providers that has nothing else
        found = choice["delta"] = {}
    return found if isinstance(found, dict) else None


def _places(part: dict[str, Any]) -> Iterable[_Place]:
    """Where there is text: `content` itself, or each of its parts that has a `text`."""
    content = part.get("content")
    if isinstance(content, str):
        yield _Place(part, "content")
    elif isinstance(content, list):
        for each in content:
            if isinstance(each, dict) and isinstance(each.get("text"), str):
                yield _Place(each, "text")
