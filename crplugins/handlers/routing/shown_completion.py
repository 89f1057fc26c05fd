"""A completion that has been shown, and goes on.

Who completes prompts is given the prompt with what has been said after it, and needs no word for that. Who chats is
given the conversation with the beginning of an answer, where it takes one.
"""

from collections.abc import Mapping
from typing import Any, Final

from crplugins.core.body import Body
from crplugins.core.dialects import COMPLETIONS
from crplugins.core.exchange import Exchange, Reply
from crplugins.core.lenient_json import decode_with_halves, encoded
from crplugins.core.sse import Event
from crplugins.handlers.routing.candidate import Candidate
from crplugins.handlers.routing.joint import Joint
from crplugins.handlers.routing.prefill import Prefill, prefill_of
from crplugins.handlers.routing.transcript import Transcript, bounded, continued

_ONE: Final = {"n": 1, "best_of": 1, "echo": False, "logprobs": None}
"""What a request must not ask for otherwise: one answer, and nothing that counts from its beginning."""


class ShownCompletion:
    """See `Shown`."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange: Final = exchange
        self._transcript: Final = Transcript()
        self._goes_on = False
        self.add: Final = self._transcript.add

    def calls(self, event: Event) -> bool:  # noqa: ARG002  # a completion is text alone
        return False

    def can_go_on(self, body: Body) -> bool:
        asks_for_one = all(body.get(name) in (None, only) for name, only in _ONE.items() if name in body)
        return self._transcript.can_be_continued and asks_for_one and _prompt(body) is not None

    def fits(self, candidate: Candidate) -> bool:
        text, protocols = self._transcript.text, candidate.protocols
        return not text or protocols.speaks(COMPLETIONS) or prefill_of(candidate.deployment) is not None

    async def ask(self, candidate: Candidate, body: Body) -> Reply:
        text, exchange, self._goes_on = self._transcript.text, self._exchange, True
        if text and candidate.protocols.speaks(COMPLETIONS):
            copy = bounded(body, exchange.said.tokens())
            copy.set("prompt", (_prompt(body) or "") + text)
            return await candidate.handler.answer(exchange, copy)
        prefill = prefill_of(candidate.deployment) or Prefill()
        joint = Joint.behind(text, prefill, {"object": "chat.completion.chunk"})

        def request(chat: Body) -> Body:
            return continued(chat, text, exchange.said.tokens(), prefill) if text else chat

        return await candidate.protocols.go_on(candidate.handler, exchange, body, request, joint.of)

    def joined(self, event: Event) -> Event | None:
        """With the head of the first part."""
        if not self._goes_on or event.answer is None or event.data is None or event.answer.error is not None:
            return event
        chunk = decode_with_halves(event.data)
        head = self._transcript.head
        return event.with_data(encoded({**chunk, **head}), event.answer) if isinstance(chunk, Mapping) else event


def _prompt(body: Body) -> str | None:
    """The one prompt, in words."""
    prompt: Any = body.get("prompt") if "prompt" in body else None
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    return prompt if isinstance(prompt, str) else None
