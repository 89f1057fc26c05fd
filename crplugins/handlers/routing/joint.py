"""Joint: makes the chunks of one answer go on from those of another."""

from collections.abc import Mapping
from typing import Any, Final, Self

import msgspec

from crplugins.core.delta import THOUGHTS
from crplugins.core.lenient_json import decode_with_halves, encoded
from crplugins.core.sse import Event
from crplugins.core.wire import read_answer
from crplugins.handlers.routing.prefill import Prefill

_SAID_ONCE: Final = frozenset({"role", *THOUGHTS, "reasoning_details", "thinking_blocks"})
"""What a continuation says that the client has already, or cannot use in the middle of an answer: thoughts."""


class Joint:
    """Rewrites the chunks of a continuation: they have the head of the first ones, no role and no thoughts, and not
    once more what had been said.

    Args:
        head: what all chunks of the answer have in common; empty if the client has seen none.
        repeated: what the continuation may begin with and the client has seen.
        space: white space that the client has seen and the provider has not; the continuation may begin with it.
    """

    def __init__(self, head: Mapping[str, Any], *, repeated: str = "", space: str = "") -> None:
        self._head = head
        self._known: frozenset[str] = _SAID_ONCE if head else frozenset()
        self._repeated = repeated
        self._matched = 0
        self._space = space

    @classmethod
    def behind(cls, text: str, prefill: Prefill, head: Mapping[str, Any]) -> Self:
        """The one for an answer that has begun with `text`, as its provider has been told to go on with it."""
        trimmed = text[len(text.rstrip()) :] if prefill.trims else ""
        return cls(head, repeated=text if prefill.repeats else "", space=trimmed)

    def of(self, event: Event) -> Event | None:
        """The chunk as it goes on; None if it says nothing new."""
        answer = event.answer
        if answer is None or event.data is None or answer.error is not None:
            return event
        chunk = decode_with_halves(event.data)
        choices = [choice for each in chunk.get("choices") or () if (choice := self._choice(each)) is not None]
        if answer.choices and not choices and answer.counted is None:
            return None
        data = encoded({**chunk, **self._head, "choices": choices})
        return event.with_data(data, msgspec.structs.replace(read_answer(data), model=answer.model))

    def _choice(self, choice: dict[str, Any]) -> dict[str, Any] | None:
        delta = {name: value for name, value in (choice.get("delta") or {}).items() if name not in self._known}
        ends = choice.get("finish_reason") is not None
        if isinstance(content := delta.get("content"), str) or ends:
            delta["content"] = self._new(content or "", ends=ends)
        delta = {name: value for name, value in delta.items() if value}
        return {**choice, "delta": delta} if delta or ends or choice.get("logprobs") else None

    def _new(self, text: str, *, ends: bool) -> str:
        """What of a text the client has not seen."""
        if self._repeated:
            text = self._unrepeated(text, ends=ends)
        while self._space and text.startswith(self._space[0]):
            text, self._space = text[1:], self._space[1:]
        if text:
            self._space = ""
        return text

    def _unrepeated(self, text: str, *, ends: bool) -> str:
        """The text after the repetition; nothing while it lasts. What is no whole repetition is new."""
        repeated, matched = self._repeated, self._matched
        expected = repeated[matched : matched + len(text)]
        if not text.startswith(expected):
            self._repeated = ""
            return repeated[:matched] + text
        self._matched = matched + len(expected)
        if self._matched < len(repeated):
            return repeated[: self._matched] if ends else ""
        self._repeated = ""
        return text[len(expected) :]
