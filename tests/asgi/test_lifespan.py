import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

import pytest

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.core.plugin import Plugin
from crplugins.testing import Drive, LifespanError, drive, lifespan
from tests.core.doubles import ASK, App


class Owner(Plugin):
    """Owns something, and writes down when it opens and closes."""

    def __init__(self, log: list[str], label: str = "p", *, broken: str = "") -> None:
        self.log, self.label, self.broken = log, label, broken

    async def __aenter__(self) -> Self:
        if self.broken == "open":
            raise ConnectionError(f"{self.label} cannot open")
        self.log.append(f"{self.label} opens")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.log.append(f"{self.label} closes")
        if self.broken == "close":
            raise ConnectionError(f"{self.label} cannot close")


class Lived:
    """An app with a lifespan of its own. `fails`: startup or shutdown is reported as failed."""

    def __init__(self, log: list[str], fails: str = "") -> None:
        self.log, self.fails = log, fails

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "lifespan"
        for step in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{step}"
            self.log.append(f"app {step}")
            end = "failed" if self.fails == step else "complete"
            await send({"type": f"lifespan.{step}.{end}", **({"message": "app's"} if end == "failed" else {})})
            if end == "failed":
                return


async def silent(scope: Any, receive: Any, send: Any) -> None:
    """An app without lifespan that says so by returning."""


async def refusing(scope: Any, receive: Any, send: Any) -> None:
    """An app without lifespan that says so by raising, before it has read anything."""
    assert scope["type"] == "http"


async def reading(scope: Any, receive: Any, send: Any) -> None:
    """An app that takes any scope for a request and fails on the first message."""
    await receive()
    raise KeyError("path")


async def leaving(scope: Any, receive: Any, send: Any) -> None:
    """An app that starts and does not wait for the end."""
    await receive()
    await send({"type": "lifespan.startup.complete"})


async def mute(scope: Any, receive: Any, send: Any) -> None:
    """An app that stops without a word."""
    await leaving(scope, receive, send)
    await receive()


def around(app: Any, *plugins: Plugin) -> PluginMiddleware:
    return PluginMiddleware(app, plugins=plugins)


async def test_plugins_open_before_the_app_starts_and_close_after_it_has_stopped() -> None:
    log: list[str] = []
    async with lifespan(around(Lived(log), Owner(log, "a"), Owner(log, "b"))):
        log.append("serving")
    assert log == [
        "a opens", "b opens", "app startup", "serving", "app shutdown", "b closes", "a closes",
    ]  # fmt: skip


@pytest.mark.parametrize("app", [silent, refusing, reading, leaving, mute])
async def test_an_app_without_a_whole_lifespan_still_has_its_plugins_opened_and_closed(app: Any) -> None:
    log: list[str] = []
    async with lifespan(around(app, Owner(log))):
        assert log == ["p opens"]
    assert log == ["p opens", "p closes"]


async def test_an_app_with_no_lifespan_and_plugins_that_own_nothing_starts_and_stops() -> None:
    async with lifespan(around(silent, Plugin())):
        pass


async def test_a_plugin_that_cannot_open_is_reported_and_closes_the_others() -> None:
    log: list[str] = []
    app = around(Lived(log), Owner(log, "a"), Owner(log, "b", broken="open"), Owner(log, "c"))
    with pytest.raises(LifespanError, match="ConnectionError: b cannot open"):
        async with lifespan(app):
            pytest.fail("started")
    assert log == ["a opens", "a closes"]


async def test_plugins_are_closed_by_the_time_a_failure_is_reported() -> None:
    log: list[str] = []

    async def startup() -> dict[str, str]:
        return {"type": "lifespan.startup"}

    async def report(message: Any) -> None:
        log.append(message["type"])

    app = around(silent, Owner(log, "a"), Owner(log, "b", broken="open"))
    await app({"type": "lifespan"}, startup, report)
    assert log == ["a opens", "a closes", "lifespan.startup.failed"]


async def test_an_app_that_cannot_start_closes_the_plugins() -> None:
    log: list[str] = []
    with pytest.raises(LifespanError, match="app's"):
        async with lifespan(around(Lived(log, "startup"), Owner(log))):
            pytest.fail("started")
    assert log == ["p opens", "app startup", "p closes"]


async def test_an_app_that_cannot_stop_closes_the_plugins() -> None:
    log: list[str] = []
    with pytest.raises(LifespanError, match="app's"):
        async with lifespan(around(Lived(log, "shutdown"), Owner(log))):
            pass
    assert log[-1] == "p closes"


async def test_a_plugin_that_cannot_close_is_reported_and_closes_the_others() -> None:
    log: list[str] = []
    with pytest.raises(LifespanError, match="ConnectionError: b cannot close"):
        async with lifespan(around(Lived(log), Owner(log, "a"), Owner(log, "b", broken="close"))):
            pass
    assert log[-2:] == ["b closes", "a closes"]


async def test_an_app_that_crashes_while_it_serves_closes_the_plugins() -> None:
    log: list[str] = []

    async def crashing(scope: Any, receive: Any, send: Any) -> None:
        await leaving(scope, receive, send)
        await receive()
        raise LookupError("app's")

    with pytest.raises(LookupError, match="app's"):
        async with lifespan(around(crashing, Owner(log))):
            pass
    assert log == ["p opens", "p closes"]


async def test_a_server_that_gives_up_closes_the_plugins() -> None:
    log: list[str] = []
    with pytest.raises(ZeroDivisionError):
        async with lifespan(around(Lived(log), Owner(log))):
            raise ZeroDivisionError
    assert log == ["p opens", "app startup", "p closes"]


async def test_the_same_app_can_be_started_twice() -> None:
    log: list[str] = []
    app = around(Lived(log), Owner(log))
    for _ in range(2):
        async with lifespan(app):
            pass
    assert log.count("p opens") == log.count("p closes") == 2


async def test_fused_plugins_open_once_and_a_second_boundary_opens_its_own() -> None:
    log: list[str] = []
    inner = around(Lived(log), Owner(log, "c"))

    async def foreign(scope: Any, receive: Any, send: Any) -> None:
        await inner(scope, receive, send)

    app = around(around(foreign, Owner(log, "b")), Owner(log, "a"))
    async with lifespan(app):
        pass
    assert log == [
        "a opens", "b opens", "c opens", "app startup", "app shutdown", "c closes", "b closes", "a closes",
    ]  # fmt: skip


async def test_where_the_host_sends_no_lifespan_the_first_request_opens_and_later_ones_do_not() -> None:
    log: list[str] = []
    app = around(App(), Owner(log))
    for _ in range(2):
        assert (await drive(app, body=ASK)).status == 200
    assert log == ["p opens"]


async def test_concurrent_first_requests_open_once_and_wait_for_it() -> None:
    log: list[str] = []
    gate = asyncio.Event()

    class Slow(Owner):
        async def __aenter__(self) -> Self:
            await gate.wait()
            return await super().__aenter__()

    inner = App()
    app = around(inner, Slow(log))
    calls = [asyncio.create_task(drive(app, body=ASK)) for _ in range(5)]
    await asyncio.sleep(0.01)
    assert not inner.called
    gate.set()
    assert [answer.status for answer in await asyncio.gather(*calls)] == [200] * 5
    assert log == ["p opens"]


async def test_a_cancelled_first_request_does_not_cancel_the_opening() -> None:
    log: list[str] = []
    gate = asyncio.Event()

    class Slow(Owner):
        async def __aenter__(self) -> Self:
            await gate.wait()
            return await super().__aenter__()

    app = around(App(), Slow(log))
    async with Drive(app, body=ASK) as call:
        await asyncio.sleep(0)
    assert call.task.cancelled()
    gate.set()
    assert (await drive(app, body=ASK)).status == 200
    assert log == ["p opens"]


async def test_plugins_that_cannot_open_are_our_500_and_the_next_request_tries_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log: list[str] = []
    owner, inner = Owner(log, broken="open"), App()
    app = around(inner, Owner(log, "other"), owner)
    answer = await drive(app, body=ASK)
    assert answer.status == 500
    assert answer.json()["error"]["type"] == "server_error"
    assert answer.headers["x-request-id"]
    assert "p cannot open" not in answer.body.decode()
    assert "p cannot open" in caplog.text
    assert not inner.called
    owner.broken = ""
    assert (await drive(app, body=ASK)).status == 200
    assert log == ["other opens", "other closes", "other opens", "p opens"]


def test_without_lifespan_the_end_of_the_event_loop_closes_and_the_next_loop_opens_again() -> None:
    log: list[str] = []
    app = around(App(), Owner(log))
    for _ in range(2):
        asyncio.run(drive(app, body=ASK))
    assert log == ["p opens", "p closes"] * 2


async def test_a_plugin_that_only_closes_is_closed() -> None:
    log: list[str] = []

    class Closing(Plugin):
        async def __aexit__(self, *_: object) -> None:
            log.append("closed")

    async with lifespan(around(silent, Closing())):
        pass
    assert log == ["closed"]


async def test_paths_without_plugins_open_nothing() -> None:
    log: list[str] = []
    assert (await drive(around(App(reads=False), Owner(log)), "GET", "/healthz")).status == 200
    assert log == []


async def test_resources_open_before_the_first_chat_completion_though_there_is_no_plugin() -> None:
    opened: list[str] = []

    @asynccontextmanager
    async def resource() -> AsyncIterator[None]:
        opened.append("open")
        yield

    app = PluginMiddleware(App(), resources=[resource()])
    answer = await drive(app)
    assert (answer.status, opened) == (200, ["open"])


async def test_resources_are_opened_before_the_plugins_and_closed_after_them() -> None:
    log: list[str] = []
    app = PluginMiddleware(
        PluginMiddleware(App(), plugins=[Owner(log, "inner")], resources=[Owner(log, "inner's")]),
        plugins=[Owner(log, "outer")],
        resources=[Owner(log, "outer's")],
    )
    async with lifespan(app):
        assert log == ["outer's opens", "inner's opens", "outer opens", "inner opens"]
    assert log[4:] == ["inner closes", "outer closes", "inner's closes", "outer's closes"]
