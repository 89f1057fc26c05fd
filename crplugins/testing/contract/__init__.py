"""PluginContract: what every plugin must keep, as a test class for plugin authors.

    from crplugins.testing import PluginContract

    class TestMyPlugin(PluginContract):
        def make_plugin(self):
            return MyPlugin(...)

Its tests are coroutines: with pytest, install pytest-asyncio and set `asyncio_mode = "auto"`. No pytest is needed to
import it, and any runner that awaits methods called `test_*` will do.
"""

from __future__ import annotations

from crplugins.core.exchange import Exchange
from crplugins.core.plugin import Plugin
from crplugins.core.sse import Event
from crplugins.testing.contract.answers import Answers
from crplugins.testing.contract.endings import Endings
from crplugins.testing.contract.homes import Homes
from crplugins.testing.contract.requests import Requests
from crplugins.testing.contract.stage import DOCUMENT, JSON, ScriptedApp, answer, around, ask
from crplugins.testing.contract.streams import Streams


class PluginContract(Requests, Streams, Endings, Answers, Homes):
    """Override `make_plugin`; where the plugin does not let everything through, `accepted_request` too.

    Optional: `refused_request`, a request the plugin must refuse; `stream`, an answer of which it passes at least the
    first event; `sets_headers`, the response headers of a plugin that observes. A plugin that answers by itself gives
    `answered_request`, and says whether it `learns` (a cache), `answers_streams`, `answers_for_free` and
    `shares_answers` between keys. A test that does not apply to a plugin passes.
    """

    async def test_its_declared_needs_match_its_hooks(self) -> None:
        plugin = self.make_plugin()
        kind, name = type(plugin), plugin.name
        sees = kind.on_event is not Plugin.on_event
        adds = kind.on_end is not Plugin.on_end or kind.on_cut is not Plugin.on_cut
        reads = kind.reads_events or kind.rewrites_events
        assert reads or not (sees or adds), f"{name} has on_event, on_end or on_cut and declares no need of events"
        assert sees or adds or not reads, f"{name} declares a need of events and has no hook that uses them"
        assert kind.rewrites_events or not adds, f"{name}.on_end and on_cut are never called without rewrites_events"
        uses_body = kind.on_request is not Plugin.on_request
        assert uses_body or not plugin.reads_body, f"{name} declares reads_body and has no on_request"

    async def test_it_changes_events_only_if_it_says_so(self) -> None:
        plugin = self.make_plugin()
        if plugin.rewrites_events or not plugin.reads_events:
            return
        returned = record_events(plugin)
        for messages in (answer(*self.stream()), answer(DOCUMENT, content_type=JSON)):
            await ask(around(ScriptedApp(messages), [plugin]), self.accepted_request())
        for event, result in returned:
            assert result is event, f"{plugin.name}.on_event returned {result!r} but does not declare rewrites_events"


def record_events(plugin: Plugin) -> list[tuple[Event, Event | None]]:
    """What each `on_event` is given and returns, from now on."""
    kind = type(plugin)
    seen: list[tuple[Event, Event | None]] = []

    class Recorded(kind):  # type: ignore[misc, valid-type]
        __slots__ = ()

        def on_event(self, exchange: Exchange, event: Event) -> Event | None:
            result: Event | None = super().on_event(exchange, event)
            seen.append((event, result))
            return result

    Recorded.__name__ = kind.__name__
    object.__setattr__(plugin, "__class__", Recorded)
    return seen
