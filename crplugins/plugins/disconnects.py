"""Disconnects: what happens to an answer when its client has disconnected."""

from typing import Final

from crplugins.core.exchange import Drain, Exchange
from crplugins.core.plugin import Plugin
from crplugins.core.principal import OnDisconnect

DRAIN_SECONDS: Final = 30.0
DRAIN_TOKENS: Final = 8192


class Disconnects(Plugin):
    """Cancels the request at once (`cancel`), or reads on to the provider's usage (`drain`), up to two limits.

    Cancelling saves what the provider then does not generate, and the usage is estimated. A provider that bills every
    answer it has begun costs the same either way; draining then gets the provider's own usage. Place it inside Auth: a
    key may have its own policy.

    Args:
        on_disconnect: for keys without their own policy, and for requests without a key.
        drain_seconds: how long to read on at most.
        drain_tokens: how many more output tokens to read at most.
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

    def on_request(self, exchange: Exchange) -> None:
        own = exchange.principal.on_disconnect if exchange.principal is not None else None
        if (own or self._on_disconnect) == "drain":
            exchange.drain = self._drain
