"""Completeness: whether an answer has come to its end. The one place that decides it, for every home."""

from collections.abc import Sequence
from typing import Final

from msgspec import UNSET

from crplugins.core.errors import GatewayError, broken_off, no_completion
from crplugins.core.finish_reasons import is_end, is_failure
from crplugins.core.sse import Event
from crplugins.core.wire import Choice

_NONE: Final[frozenset[int]] = frozenset()
_FIRST: Final = frozenset((0,))


class Completeness:
    """How far a streamed answer has come, judged by its events so far.

    Nine of eleven clients take a clean end of a cut stream for success, and a tool call that was cut becomes a call
    with wrong arguments. So an answer is complete only when each of its choices has ended with a finish reason. [DONE]
    is no proof: gateways append it to whatever was cut. It counts for providers that never send the key
    `finish_reason`.

    The sets of choices are never changed, so that nearly all open streams share two: each would take 200 bytes.

    Args:
        choices: how many the client asked for (`n`). One that never began is missing.

    Attributes:
        open: the choices that have begun and not ended.
        done: [DONE] came, or the end mark of another protocol.
        failed: an error came, or a finish reason that says so (`error`, `abort`), a tool call without its beginning, or
            the end mark of another protocol before the end of each choice.
        calls: a tool call has begun.
        lost: a malformed event was left out. It may have held anything: a finish reason, so that [DONE] is no proof
            for any provider, or the name of the tool that is called.
    """

    __slots__ = ("_choices", "_ended", "_says_reasons", "calls", "done", "failed", "lost", "open")

    def __init__(self, choices: int = 1) -> None:
        self.open = _NONE
        self._choices = max(choices, 1)
        self._ended = _NONE
        self._says_reasons = False
        self.done = False
        self.failed = False
        self.calls = False
        self.lost = False

    def see(self, event: Event) -> None:
        """Note an event. What says nothing after the end of a choice (Azure's filter results) does not reopen it."""
        answer = event.answer
        if answer is None:
            self.done = self.done or event.is_done
            return
        if answer.error is not None:
            self.failed = True
        for choice in answer.choices or ():
            said = choice.delta or choice.message
            if said is not None and (said.tool_calls or said.function_call):
                self.failed |= self.lost and not self.calls and not any(call.name for call in said.call_pieces())
                self.calls = True
            reason = choice.finish_reason
            self._says_reasons |= reason is not UNSET
            if reason and is_end(reason):
                self.open = _without(self.open, choice.index)
                self._ended = _with(self._ended, choice.index)
            elif choice.index not in self._ended:
                self.open = _with(self.open, choice.index)
            elif _says_something(choice):
                self._ended = _without(self._ended, choice.index)
                self.open = _with(self.open, choice.index)
            if choice.error or (reason and is_failure(reason)):
                self.failed = True
        if answer.ends:
            self.done = True
            self.failed |= not self.complete

    def see_text(self, choice: Choice) -> None:
        """Note the choice of a chunk that is text alone (`Event.text`)."""
        if choice.index not in self.open:
            self._ended = _without(self._ended, choice.index)
            self.open = _with(self.open, choice.index)
        if choice.finish_reason is not UNSET:
            self._says_reasons = True

    def is_behind(self, event: Event) -> bool:
        """Whether an event follows a complete answer and is none of it: malformed, or an error without choices."""
        if self.open or not self.complete or event.is_done or event.data is None:
            return False
        answer = event.answer
        return answer is None or event.is_malformed or (answer.error is not None and not answer.choices)

    @property
    def begun(self) -> bool:
        """Whether a choice came at all."""
        return bool(self.open or self._ended)

    @property
    def complete(self) -> bool:
        """Whether the answer is whole."""
        if self.failed or len(self.open) + len(self._ended) < self._choices:
            return False
        return not self.open or (self.done and not self._says_reasons and not self.lost)


def failure_in(choices: Sequence[Choice] | None) -> GatewayError | None:
    """What is wrong with a whole answer that is told as a success: it has no choice, or its model has failed."""
    if not choices:
        return no_completion()
    for choice in choices:
        reason = choice.finish_reason
        if choice.error or (reason != "stop" and is_failure(reason)):  # nearly always "stop"
            return broken_off()
    return None


def _with(choices: frozenset[int], index: int) -> frozenset[int]:
    if index in choices:
        return choices
    return choices | {index} if choices or index else _FIRST


def _without(choices: frozenset[int], index: int) -> frozenset[int]:
    return choices - {index} if index in choices else choices


def _says_something(choice: Choice) -> bool:
    said = choice.delta or choice.message
    return said is not None and said.says()
