"""Shown: what a client has been shown of a stream, and how another deployment is asked to go on with it."""

from typing import Protocol

from crplugins.core.body import Body
from crplugins.core.dialects import CHAT, COMPLETIONS, MESSAGES, RESPONSES, Dialect
from crplugins.core.exchange import Reply
from crplugins.core.sse import Event
from crplugins.core.wire import Choice
from crplugins.handlers.routing.candidate import Candidate

CAN_GO_ON: frozenset[Dialect] = frozenset({CHAT, COMPLETIONS, MESSAGES, RESPONSES})
"""The protocols in which a stream can be continued: whose answers are text that a model can be given."""


class Shown(Protocol):
    """One answer, in one protocol."""

    def add(self, event: Event) -> None:
        """The client is shown this."""

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


def calls_in(choices: list[Choice] | None) -> bool:
    """Whether a part of an answer is that of a tool's call."""
    return any(each.delta is not None and (each.delta.tool_calls or each.delta.function_call) for each in choices or ())
