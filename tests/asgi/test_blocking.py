"""The guard of the test suite itself: a plugin that blocks the event loop fails its test."""

import time

import pytest

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.core.exchange import Exchange
from crplugins.core.sse import Event
from crplugins.testing import drive
from tests.core.doubles import ASK, App, Watcher


class Sleepy(Watcher):
    observes = True

    def on_event(self, exchange: Exchange, event: Event) -> Event:
        time.sleep(0.001)
        return event


async def test_a_blocking_call_is_found_even_if_its_error_is_muted(
    blocked: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    answer = await drive(PluginMiddleware(App(), plugins=[Sleepy()]), body=ASK)
    assert answer.status == 200
    assert blocked == ["time.sleep"]
    assert "Sleepy.on_event failed" in caplog.text
    blocked.clear()
