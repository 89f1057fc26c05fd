"""StreamUsage: every stream is asked for its usage, and only who asked for it sees it."""

from collections.abc import Iterable
from typing import Final

from crplugins.core.exchange import Exchange, Refusal, Slot
from crplugins.core.plugin import Plugin
from crplugins.core.sse import Event
from crplugins.core.stream_options import (
    REMEMBERED_SECONDS,
    STREAM_OPTIONS,
    StreamOptionsRefused,
    asks_for_usage_only,
    names_stream_options,
)
from crplugins.plugins.stream_usage_hide import without_usage
from crplugins.plugins.stream_usage_show import ShownOnce

__all__ = ["StreamUsage"]

_SHOWN: Final[Slot[ShownOnce]] = Slot("stream_usage.shown")
_HIDDEN: Final[Slot[bool]] = Slot("stream_usage.hidden")


class StreamUsage(Plugin):
    """Merges `include_usage: true` into `stream_options` (OpenAI, "Create chat completion", `stream_options`).

    Other options are kept. `{}`, `null` and `include_usage: false` are no way out: the client is merely not shown what
    was asked for in its stead. A client that did ask sees usage on exactly one chunk. An app that answers 400 or 422
    naming `stream_options` is asked once more without, and not again for `remember_seconds`.

    Stands inside the plugins that read usage from the Exchange: they see it whatever the client sees.
    """

    reads_body = True
    rewrites_events = True

    def __init__(self, *, remember_seconds: float = REMEMBERED_SECONDS) -> None:
        self._refused = StreamOptionsRefused(remember_seconds)

    async def on_request(self, exchange: Exchange) -> None:
        body = exchange.body
        if body is None or not body.get("stream"):  # lax servers take 1 and "true" for true
            return
        options = body.get(STREAM_OPTIONS)
        asked = isinstance(options, dict) and options.get("include_usage") is True
        if asked and options.get("continuous_usage_stats"):  # vLLM's: wants it on every chunk
            return
        if asked:
            _SHOWN.set(exchange, ShownOnce(body.get("n", int) or 1))
        else:
            _HIDDEN.set(exchange, True)
            if options is None or isinstance(options, dict):  # anything else is for the app to refuse
                body.set(STREAM_OPTIONS, {**(options or {}), "include_usage": True})
        if self._refused.known(_app_of(exchange), exchange.clock()):
            body.remove(STREAM_OPTIONS)

    def on_refused(self, exchange: Exchange, refusal: Refusal) -> bool:
        body = exchange.body
        if body is None or not names_stream_options(refusal.status, refusal.body.decode("utf-8", "replace")):
            return False
        if not asks_for_usage_only(body):
            return False
        self._refused.remember(_app_of(exchange), exchange.clock())
        body.remove(STREAM_OPTIONS)
        return True

    def on_event(self, exchange: Exchange, event: Event) -> Event | None:
        if event.document or event.data is None:
            return event
        if _HIDDEN.get(exchange):
            return without_usage(event) if b"usage" in event.data else event
        shown = _SHOWN.get(exchange)
        return event if shown is None else shown.pass_on(event)

    def on_end(self, exchange: Exchange) -> Iterable[Event]:
        shown = _SHOWN.get(exchange)
        return () if shown is None else shown.at_the_end()


def _app_of(exchange: Exchange) -> str:
    """An app may have several models behind it, of which one refuses."""
    return exchange.body.get("model", str) or "" if exchange.body is not None else ""
