"""Disconnects: what becomes of an answer whose client has left."""

from typing import Final

from crplugins.core.exchange import Drain, Exchange
from crplugins.core.plugin import Plugin
from crplugins.core.principal import OnDisconnect

DRAIN_SECONDS: Final = 30.0
DRAIN_TOKENS: Final = 8192


class Disconnects(Plugin):
    """Ends the work at once (`cancel`), or reads on to the provider's usage (`drain`), bounded both ways.

    Cancelling saves what a provider stops generating, and leaves an estimate in the books. A provider that bills what
    it has begun costs the same either way; draining then has its own number. Stands inside Auth: a key may have a
    policy of its own.

    Args:
        on_disconnect: for keys without a policy of their own, and for everybody without a key.
        drain_seconds: how long to read on at most.
        drain_tokens: how many output tokens to read on at most.
    """

    def __init__(
        self,
        on_disconnect: OnDisconnect = "cancel",
        *,
        drain_seconds: float = DRAIN_SECONDS,
        drain_tokens: int = DRAIN_TOKENS,
    ) -> None:
        self._on_disconnect = on_disconnect
        self._drain = Drain(drain_seconds, drain_tokens)

    async def on_request(self, exchange: Exchange) -> None:
        own = exchange.principal.on_disconnect if exchange.principal is not None else None
        if (own or self._on_disconnect) == "drain":
            exchange.drain = self._drain
