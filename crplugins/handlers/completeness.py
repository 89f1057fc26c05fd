"""Whether a streamed answer came to its end.

Nine of eleven clients take a clean end of a cut stream for success, and a tool call cut cleanly becomes a call with
wrong arguments. So an end counts only with a finish_reason for every choice, or with [DONE].
"""

from crplugins.core.sse import Event


class Completeness:
    """What the events of one stream have said so far."""

    __slots__ = ("_open", "_seen", "done", "failed")

    def __init__(self) -> None:
        self._open: set[int] = set()
        self._seen = False
        self.done = False
        self.failed = False

    @property
    def complete(self) -> bool:
        """[DONE] came, or every choice that began has its finish_reason."""
        return self.done or (self._seen and not self._open)

    def see(self, event: Event) -> bool:
        """Take note of an event. False if its data is neither JSON nor [DONE]."""
        answer = event.answer
        if answer is None:
            self.done = self.done or event.is_done
            return event.data is None or event.is_done
        if answer.error is not None:
            self.failed = True
        for choice in answer.choices or ():
            self._seen = True
            if choice.finish_reason is None:
                self._open.add(choice.index)
            else:
                self._open.discard(choice.index)
        return True
