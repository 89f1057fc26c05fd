"""ServerTiming: how long the gateway and the upstream took, on every answer (W3C Server Timing)."""

from crplugins.core.exchange import Exchange
from crplugins.core.plugin import Plugin

_NAME = b"server-timing"


class ServerTiming(Plugin):
    """Adds `server-timing: gateway;dur=0.4, upstream;dur=812.3`, in milliseconds, up to the status of the answer.

    `upstream` is the time since the first call of a provider, or of the app behind the plugins; it is absent if there
    was no call. Place it outermost, so that the time of all plugins is in it.
    """

    observes = True

    def on_response(self, exchange: Exchange) -> None:
        timings = exchange.timings
        now = timings.response if timings.response is not None else exchange.clock()
        called = exchange.attempts[0].started if exchange.attempts else timings.app
        total = (now - timings.started) * 1e3
        if called is None:
            value = b"gateway;dur=%.2f" % total
        else:
            upstream = (now - called) * 1e3
            value = b"gateway;dur=%.2f, upstream;dur=%.2f" % (total - upstream, upstream)
        exchange.response_headers.append((_NAME, value))
