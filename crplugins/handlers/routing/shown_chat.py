"""A chat completion that has been shown, and goes on. The next deployment is given it as its own beginning."""

from typing import Final

from crplugins.core.body import Body
from crplugins.core.exchange import Exchange, Reply
from crplugins.core.sse import Event
from crplugins.handlers.routing.candidate import Candidate
from crplugins.handlers.routing.joint import Joint
from crplugins.handlers.routing.prefill import Prefill, prefill_of
from crplugins.handlers.routing.shown import calls_in
from crplugins.handlers.routing.transcript import Transcript, continued, may_be_continued


class ShownChat:
    """See `Shown`."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange: Final = exchange
        self._transcript: Final = Transcript()
        self._joint: Joint | None = None

    def add(self, event: Event) -> None:
        self._transcript.add(event)

    def calls(self, event: Event) -> bool:
        return event.answer is not None and calls_in(event.answer.choices)

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
