"""Shows usage on one chunk of a stream, to a client that asked for it."""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from crplugins.core.body import Body
from crplugins.core.sse import Event
from crplugins.core.wire import Answer

_HEAD: Final = ("id", "object", "created", "model", "service_tier", "system_fingerprint")


class ShownOnce:
    """One stream.

    The usage that is shown is the one on the chunk without choices, or on the chunk that ends the last choice: the
    provider's own place. Running counts on earlier chunks become null; if nothing followed them, the last is added in a
    chunk of OpenAI's form.

    Args:
        choices: how many the client asked for (`n`).
    """

    __slots__ = ("_choices", "_finished", "_held", "_shown")

    def __init__(self, choices: int) -> None:
        self._choices = choices
        self._finished: set[int] = set()
        self._held: Body | None = None
        self._shown = False

    def pass_on(self, event: Event) -> Event | None:
        """The event as the client is to see it; None for a repeated usage chunk."""
        answer = event.answer
        if answer is None:
            return event
        for choice in answer.choices or ():
            if choice.finish_reason is not None:
                self._finished.add(choice.index)
        if answer.usage is None or answer.error is not None:
            return event
        return self._with_usage(event, answer)

    def at_the_end(self) -> Iterable[Event]:
        """What is still owed when the stream is complete."""
        if self._shown or self._held is None:
            return ()
        head: dict[str, Any] = {name: self._held.get(name) for name in _HEAD if name in self._held}
        return (Event.of(msgspec.json.encode({**head, "choices": [], "usage": self._held.get("usage")})),)

    def _with_usage(self, event: Event, answer: Answer) -> Event | None:
        if self._shown:
            return self._silenced(event) if answer.choices else None
        if not answer.choices or self._is_the_whole():
            self._shown = True
            return event
        self._held = Body(event.data or b"")
        return self._silenced(event)

    def _is_the_whole(self) -> bool:
        """Of several choices vLLM counts each on its own, on every chunk, and their sum in a chunk behind them."""
        ended = len(self._finished) >= self._choices
        return ended and (self._choices == 1 or self._held is None)

    def _silenced(self, event: Event) -> Event:
        body = Body(event.data or b"")
        body.set("usage", None)
        return event.with_data(body.raw)
