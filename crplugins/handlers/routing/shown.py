"""Shown: what a client has been shown of a stream, and how another deployment is asked to go on with it.

`ShownChat` is that of chat completions, where the next deployment is given it as its own beginning. Those of other
protocols are in `shown_completion.py` and `shown_translated.py`.
"""

from collections.abc import Callable
from typing import Final, Protocol

from crplugins.core.body import Body
from crplugins.core.dialects import CHAT, COMPLETIONS, MESSAGES, RESPONSES, Dialect
from crplugins.core.exchange import Exchange, Reply
from crplugins.core.sse import Event
from crplugins.handlers.routing.candidate import Candidate
from crplugins.handlers.routing.joint import Joint
from crplugins.handlers.routing.prefill import Prefill, prefill_of
from crplugins.handlers.routing.transcript import Transcript, continued, may_be_continued

CAN_GO_ON: Final[frozenset[Dialect]] = frozenset({CHAT, COMPLETIONS, MESSAGES, RESPONSES})
"""The protocols in which a stream can be continued: whose answers are text that a model can be given."""


class Shown(Protocol):
    """One answer, in one protocol."""

    @property
    def add(self) -> Callable[[Event], None]:
        """The client is shown an event."""

    def calls(self, event: Event) -> bool:
        """Whether an event begins a call of a tool of the client's, which is shown when all of them are whole."""

    def can_go_on(self, body: Body) -> bool:
        """Whether another deployment could go on with the answer to this request, as far as it has come."""

    def fits(self, candidate: Candidate) -> bool:
        """Whether this one can."""

    async def ask(self, candidate: Candidate, body: Body) -> Reply:
        """Have it go on: the stream of its answer, in the protocol of the client. Raises `GatewayError`."""

    def joined(self, event: Event) -> Event | None:
        """An event of that stream as it goes on; None if it says nothing new."""


class ShownChat:
    """See `Shown`."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange: Final = exchange
        self._transcript: Final = Transcript()
        self._joint: Joint | None = None
        self.add: Final = self._transcript.add

    def calls(self, event: Event) -> bool:
        choices = () if event.answer is None else event.answer.choices or ()
        return any(each.delta is not None and (each.delta.tool_calls or each.delta.function_call) for each in choices)

    def can_go_on(self, body: Body) -> bool:
        transcript = self._transcript
        return transcript.can_be_continued and (not transcript.text or may_be_continued(body))

    def fits(self, candidate: Candidate) -> bool:
        return not self._transcript.text or prefill_of(candidate.deployment) is not None

    async def ask(self, candidate: Candidate, body: Body) -> Reply:
        text, prefill = self._transcript.text, prefill_of(candidate.deployment) or Prefill()
        self._joint = Joint.behind(text, prefill, self._transcript.head)
        if text:
            body = continued(body, text, self._exchange.said.tokens(), prefill)
        return await candidate.handler.answer(self._exchange, body)

    def joined(self, event: Event) -> Event | None:
        return event if self._joint is None else self._joint.of(event)
