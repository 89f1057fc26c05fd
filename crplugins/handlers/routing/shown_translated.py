"""An answer in Messages or Responses that has been shown, and goes on.

Whoever gave its first part, the next deployment is asked in chat completions, in which it can be given the beginning of
an answer, and the translation tells its own from where the first part broke. So it is the same for a stream that had
been translated and for one that its provider told itself.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from crplugins.core.body import Body
from crplugins.core.dialects import CHAT
from crplugins.core.exchange import Exchange, Reply
from crplugins.core.sse import Event
from crplugins.handlers.routing.candidate import Candidate
from crplugins.handlers.routing.joint import Joint
from crplugins.handlers.routing.prefill import Prefill, prefill_of
from crplugins.handlers.routing.transcript import MOST_CHARACTERS, continued, may_be_continued

if TYPE_CHECKING:
    from crplugins.handlers.translation.shown_blocks import ShownBlocks


class ShownTranslated:
    """See `Shown`.

    Args:
        seen: the blocks of the answer.
        chat_of: the request as a chat completion; None for one that is none.
    """

    def __init__(self, exchange: Exchange, seen: "ShownBlocks", chat_of: Callable[[Body], Body | None]) -> None:
        self._exchange: Final = exchange
        self._seen: Final = seen
        self._chat_of: Final = chat_of
        self._kept_at = exchange.kept_at  # by which the client knows the answer

    def add(self, event: Event) -> None:
        if event.data is not None and self._seen.can_be_continued:
            self._seen.add(event.data)

    def calls(self, event: Event) -> bool:
        """Of an answer that cannot be continued nothing is held back."""
        seen = self._seen
        return (
            seen.can_be_continued and event.answer is not None and event.data is not None and seen.is_call(event.data)
        )

    def can_go_on(self, body: Body) -> bool:
        seen = self._seen
        if not seen.can_be_continued or not seen.can_follow or seen.size > MOST_CHARACTERS:
            return False
        if self._kept_at is not None and body.get("store", bool) is not False:
            return False  # its provider keeps the first part under its id, and nobody the whole
        chat = self._chat_of(body)
        return chat is not None and (not seen.text or may_be_continued(chat))

    def fits(self, candidate: Candidate) -> bool:
        can_be_given_it = not self._seen.text or prefill_of(candidate.deployment) is not None
        return can_be_given_it and candidate.protocols.speaks(CHAT)

    async def ask(self, candidate: Candidate, body: Body) -> Reply:
        text, exchange = self._seen.text, self._exchange
        prefill = prefill_of(candidate.deployment) or Prefill()
        joint = Joint.behind(text, prefill, {"object": "chat.completion.chunk"})

        def request(chat: Body) -> Body:
            return continued(chat, text, exchange.said.tokens(), prefill) if text else chat

        reply = await candidate.protocols.go_on(candidate.handler, exchange, body, request, joint.of, self._seen)
        exchange.kept_at = self._kept_at
        return reply

    def joined(self, event: Event) -> Event | None:
        return event
