import pytest

from crplugins.asgi.scope import make_exchange
from crplugins.core.exchange import Exchange
from crplugins.core.pipeline import Pipeline
from crplugins.core.plugin import Plugin
from crplugins.core.sse import Event
from crplugins.testing.asgi import http_scope


@pytest.fixture
def exchange() -> Exchange:
    return make_exchange(http_scope("POST", "/v1/chat/completions"), lambda: 0.0, lambda: "id")


async def test_every_hook_is_optional_and_does_nothing(exchange: Exchange) -> None:
    plugin = Plugin()
    event = Event.of(b"x")
    async with plugin as opened:
        assert opened is plugin
        assert plugin.on_request(exchange) is None
        plugin.on_response(exchange)
        assert plugin.on_event(exchange, event) is event
        assert list(plugin.on_end(exchange)) == []
        plugin.on_finish(exchange)


def test_a_plugin_needs_nothing_unless_it_says_so() -> None:
    assert not any((Plugin.reads_body, Plugin.reads_events, Plugin.rewrites_events, Plugin.observes))
    assert not Plugin.every_path


def test_its_name_is_its_class() -> None:
    class Auditor(Plugin):
        pass

    assert Auditor().name == "Auditor"


@pytest.mark.parametrize("hook", ["on_event", "on_end", "on_cut"])
def test_a_hook_that_needs_events_must_be_declared(hook: str) -> None:
    forgetful = type("Forgetful", (Plugin,), {hook: lambda self, *_: None})
    with pytest.raises(TypeError, match="Forgetful has on_event, on_end or on_cut but declares neither"):
        Pipeline([forgetful()], {}, 1)
