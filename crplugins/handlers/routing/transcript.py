"""Transcript: what a stream has said to the client, for whoever is to continue it."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from crplugins.core.body import Body
from crplugins.core.sse import Event
from crplugins.core.wire import Choice
from crplugins.handlers.routing.prefill import Prefill

MOST_CHARACTERS: Final = 1024 * 1024
"""A longer answer is not continued."""

_HEAD: Final = ("id", "created", "model", "system_fingerprint")


class Transcript:
    """The text of one answer, and whether it can be continued: not with a second choice, and not when anything but text
    and thoughts has been said.

    Attributes:
        head: what is the same in all chunks of the stream: its id, when it was made, and its model.
    """

    def __init__(self) -> None:
        self.head: dict[str, Any] = {}
        self._pieces: list[str] = []
        self._size = 0
        self._can_be_continued = True

    @property
    def text(self) -> str:
        """Without thoughts."""
        return "".join(self._pieces)

    @property
    def can_be_continued(self) -> bool:
        return self._can_be_continued and self._size <= MOST_CHARACTERS

    def add(self, event: Event) -> None:
        """A chunk that the client is shown."""
        answer = event.answer
        if answer is None or not answer.choices:
            return
        if not self.head and event.data:
            body = Body.of_answer(event.data)
            self.head = {name: body.get(name) for name in _HEAD if name in body}
        for choice in answer.choices:
            self._hear(choice)

    def _hear(self, choice: Choice) -> None:
        delta = choice.delta
        if delta is None:
            return
        other = delta.refusal or delta.tool_calls or delta.function_call or delta.audio or delta.images
        if choice.index != 0 or other or not isinstance(delta.content, str | None):
            self._can_be_continued = False
        elif delta.content:
            self._size += len(delta.content)
            if self._size <= MOST_CHARACTERS:
                self._pieces.append(delta.content)


_BOUNDS: Final = ("max_tokens", "max_completion_tokens")
_IN_ONE_FORM: Final = ("response_format", "guided_json", "guided_regex", "guided_grammar", "structured_outputs")
"""Parameters that hold a whole answer to a form. What follows a beginning would be held to it as well."""


def may_be_continued(body: Body) -> bool:
    """Whether an answer to this request may be made of two parts: one choice, in no prescribed form, of which the
    client has not given the beginning itself."""
    messages = body.get("messages", list[Any]) or [None]
    if not isinstance(messages[-1], Mapping) or messages[-1].get("role") == "assistant":
        return False
    form = body.get("response_format")
    if isinstance(form, Mapping) and form.get("type") == "text":
        form = None
    return (body.get("n") or 1) == 1 and form is None and not any(name in body for name in _IN_ONE_FORM[1:])


def continued(body: Body, text: str, tokens: int, prefill: Prefill) -> Body:
    """The request for the rest of an answer that has begun with `text`.

    Of what the client allows the whole answer, what its `tokens` have left is allowed the rest, but a token at least.
    """
    copy = bounded(body, tokens)
    messages = body.get("messages", list[msgspec.Raw]) or []
    beginning = {"role": "assistant", "content": text.rstrip() if prefill.trims else text, **prefill.message}
    copy.set("messages", [*messages, beginning])
    for name, value in prefill.parameters.items():
        copy.set(name, value)
    return copy


def bounded(body: Body, tokens: int) -> Body:
    """A copy of the request, with what so many tokens have left of the bounds of its answer, but one at least."""
    copy = body.copy()
    for name in _BOUNDS:
        if (bound := body.get(name, int)) is not None:
            copy.set(name, max(bound - tokens, 1))
    return copy
