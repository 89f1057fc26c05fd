"""Whatever plugins, app, client and server do to each other: every plugin entered finishes once, in reverse."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import event, example, given
from hypothesis import strategies as st

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.asgi.scope import SCOPE_KEY
from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange, Reply
from crplugins.testing import Drive
from tests.core.doubles import CHUNK, DOCUMENT, DONE, EVENT_STREAM, JSON, STOP, Watcher, Wrapped, piece, start

PATIENCE = 60  # turns of the event loop until a request that waits for its client is helped along


@dataclass
class Plan:
    """What one plugin does. `fails` is the hook that raises `error`."""

    observes: bool
    reads_body: bool
    rewrites: bool
    waits: int
    fails: str
    error: type[Exception]
    replies: str


plans = st.builds(
    Plan,
    observes=st.booleans(),
    reads_body=st.booleans(),
    rewrites=st.booleans(),
    waits=st.integers(0, 3),
    fails=st.sampled_from(["", "", "", "", "on_request", "on_response", "on_event", "on_end", "on_finish"]),
    error=st.sampled_from([LookupError, GatewayError]),
    replies=st.sampled_from(["", "", "", "", "", "bytes", "stream"]),
)


class Planned(Watcher):
    def __init__(self, log: list[str], label: str, plan: Plan) -> None:
        super().__init__(log, label)
        self.plan = plan
        self.endings: list[tuple[int | None, str | None]] = []

    def note(self, hook: str) -> None:
        super().note(hook)
        if self.plan.fails == hook:
            raise GatewayError(418, "no") if self.plan.error is GatewayError else self.plan.error("bug")

    async def on_request(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)
        self.log.append(f"{self.label}.entered")
        for _ in range(self.plan.waits):
            await asyncio.sleep(0)
        await super().on_request(exchange)
        if self.plan.replies == "bytes":
            exchange.reply = Reply(200, [(b"content-type", JSON.encode())], DOCUMENT)
        elif self.plan.replies:
            exchange.reply = Reply(200, [(b"content-type", EVENT_STREAM.encode())], slowly(CHUNK, STOP, DONE))

    def on_finish(self, exchange: Exchange) -> None:
        self.endings.append((exchange.status, exchange.outcome))
        super().on_finish(exchange)


def planned(log: list[str], label: str, plan: Plan) -> Planned:
    flags = {"observes": plan.observes, "reads_body": plan.reads_body, "rewrites_events": plan.rewrites}
    return type("Planned", (Planned,), flags)(log, label, plan)


async def slowly(*pieces: bytes) -> AsyncGenerator[bytes, None]:
    for one in pieces:
        await asyncio.sleep(0)
        yield one


@dataclass
class Inner:
    """What the app does: read or not, send some messages, listen for the client in between, fail, swallow failures."""

    reads: bool
    content_type: str
    sends: int
    listens: bool
    error: type[BaseException] | None
    stubborn: bool
    cancelled: int = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        more = self.reads
        while more:
            more = (await receive()).get("more_body", False)
        bodies = [CHUNK, STOP[:20], STOP[20:], DONE]
        messages = [start(content_type=self.content_type), *(piece(b, more=b is not DONE) for b in bodies)]
        for message in messages[: self.sends]:
            await asyncio.sleep(0)
            try:
                await send(message)
            except Exception:
                if not self.stubborn:
                    raise
        while self.listens and (await receive())["type"] != "http.disconnect":
            pass
        if self.error is not None:
            raise GatewayError(503, "app") if self.error is GatewayError else self.error("app")


apps = st.builds(
    Inner,
    reads=st.booleans(),
    content_type=st.sampled_from([EVENT_STREAM, EVENT_STREAM, JSON, "text/plain"]),
    sends=st.integers(0, 5),
    listens=st.booleans(),
    error=st.sampled_from([None, None, LookupError, GatewayError, ConnectionResetError, asyncio.CancelledError]),
    stubborn=st.booleans(),
)


@dataclass
class Client:
    """What happens from outside, and after how many turns of the event loop."""

    does: str
    after: int
    lockstep: bool
    spec_version: str
    chunks: list[bytes] = field(default_factory=list)

    async def act(self, call: Drive) -> None:
        await turns(call, self.after)
        if self.does == "disconnect":
            call.disconnect()
        elif self.does == "cancel":
            call.cancel()
        call._lockstep = False
        call._watch.notify()
        await turns(call, PATIENCE)
        call.disconnect()
        await turns(call, PATIENCE)


async def turns(call: Drive, count: int) -> None:
    for _ in range(count):
        if not call.task.done():
            await asyncio.sleep(0)


BODIES = st.sampled_from([[b'{"model": "m"}'], [b'{"mod', b'el": 1}'], [b"no json"], [b"x" * 60, b"x" * 60], [b""]])
clients = st.builds(
    Client,
    does=st.sampled_from(["", "", "disconnect", "cancel"]),
    after=st.integers(0, 25),
    lockstep=st.booleans(),
    spec_version=st.sampled_from(["2.3", "2.4"]),
    chunks=BODIES,
)


def stacked(app: Any, plugins: list[Planned], split: int) -> PluginMiddleware:
    """One boundary, or two with a foreign layer between."""
    inside = (
        app if split >= len(plugins) else Wrapped(PluginMiddleware(app, plugins=plugins[split:], max_body_bytes=100))
    )
    return PluginMiddleware(inside, plugins=plugins[:split], max_body_bytes=100)


async def run(app: Inner, plugins: list[Planned], split: int, client: Client) -> tuple[Drive, BaseException | None]:
    stack = stacked(app, plugins, split)
    async with Drive(stack, chunks=client.chunks, lockstep=client.lockstep, spec_version=client.spec_version) as call:
        await client.act(call)
        assert call.task.done(), "the request never ends"
        error = asyncio.CancelledError() if call.task.cancelled() else call.task.exception()
    return call, error


QUIET = Plan(observes=False, reads_body=False, rewrites=False, waits=0, fails="", error=LookupError, replies="")


@given(apps, st.lists(plans, min_size=1, max_size=4), st.integers(0, 5), clients)
# The boundary outside makes one document of the stream, and has sent its start alone when the client goes.
@example(
    Inner(reads=False, content_type=EVENT_STREAM, sends=0, listens=False, error=None, stubborn=False),
    [replace(QUIET, reads_body=True, rewrites=True), replace(QUIET, replies="stream")],
    1,
    Client(does="cancel", after=4, lockstep=True, spec_version="2.3", chunks=[b'{"model": "m"}']),
)
def test_every_plugin_entered_finishes_once_and_in_reverse(
    app: Inner, chosen: list[Plan], split: int, client: Client
) -> None:
    log: list[str] = []
    plugins = [planned(log, str(number), plan) for number, plan in enumerate(chosen)]
    call, error = asyncio.run(run(app, plugins, split, client))
    entered = [entry[0] for entry in log if entry.endswith(".entered")]
    finished = [entry[0] for entry in log if entry.endswith(".on_finish")]
    assert entered == sorted(set(entered))
    assert finished == entered[::-1]
    assert isinstance(error, RuntimeError | LookupError | OSError | asyncio.CancelledError | GatewayError | None)
    assert not isinstance(error, GatewayError)
    assert SCOPE_KEY not in call.scope
    if entered:
        check_ending(call, plugins[0], app, client)


def check_ending(call: Drive, outermost: Planned, app: Inner, client: Client) -> None:
    (status, outcome), *others = outermost.endings
    assert not others
    event(f"{status} {outcome}")
    starts = [message for message in call.sent if message["type"] == "http.response.start"]
    assert len(starts) <= 1
    if starts:
        assert status == starts[0]["status"]
        assert (b"x-request-id", outermost.exchange.id.encode()) in starts[0]["headers"]
    else:
        assert status in (499, 500) or client.does or call.sent_too_late
    assert outcome in ("ok", "client_error", "limited", "server_error", "cancelled")
    if outcome == "ok":
        assert call.complete or call.sent_too_late
        assert b'"error"' not in b"".join(message.get("body", b"") for message in call.sent)
    # A stream that an app calls JSON and nobody may rewrite reaches a client that asked for a document as it is.
    if call.complete and status == 200 and outcome == "server_error" and app.content_type != JSON:
        assert b'"error"' in b"".join(message.get("body", b"") for message in call.sent)


@given(st.lists(st.booleans(), min_size=1, max_size=5), st.data())
def test_concurrent_requests_finish_each_for_itself(gone: list[bool], data: st.DataObject) -> None:
    async def together() -> None:
        watcher = Watcher()
        app = PluginMiddleware(Inner(True, EVENT_STREAM, 5, False, None, False), plugins=[watcher])
        calls = [Drive(app, body=b"{}", spec_version="2.4") for _ in gone]
        for call in calls:
            await call.__aenter__()
        for index in data.draw(st.permutations(range(len(gone)))):
            await asyncio.sleep(0)
            if gone[index]:
                calls[index].cancel()
        for call in calls:
            await asyncio.wait([call.task])
            await call.__aexit__(None, None, None)
        ended = [exchange.outcome for exchange in watcher.exchanges]
        assert len(ended) == len(set(map(id, watcher.exchanges))) == watcher.log.count("w.on_finish")
        assert ended.count("ok") == sum(call.complete for call in calls)

    asyncio.run(together())
