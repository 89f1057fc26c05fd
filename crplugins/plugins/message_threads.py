"""MessageThreads: a conversation that Anthropic would keep for the account of the gateway is sent whole instead.

With `thread` (a beta of Messages, which Anthropic's SDKs use in their loops of tools) a request has its conversation
kept, or goes on with one that is, by the id of a message. All clients of a gateway share that account, so that one
could go on with another's; and a model behind another provider, or in another account, would answer what it has not
been told. It is refused as Anthropic refuses what cannot be kept: the SDKs then send the conversation.
"""

from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange
from crplugins.core.plugin import Plugin

_THREAD = "thread"


class MessageThreads(Plugin):
    """Refuses requests in Messages that would have a conversation kept, in Anthropic's words."""

    reads_body = True
    dialects = frozenset({"messages"})

    def on_request(self, exchange: Exchange) -> None:
        body = exchange.body
        assert body is not None, "reads_body"
        if _THREAD in body and body.get(_THREAD) is not None:
            raise GatewayError(
                400,
                "Conversations are not kept for single API keys here. Please send all messages, without 'thread'.",
                param=_THREAD,
                code="thread_unsupported_request",
            )
