"""Running calls of the proxy: each begun in one hook, found again from others, and settled once."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextvars import ContextVar
from secrets import token_hex
from typing import Any, Final

from crplugins.core.errors import GatewayError, internal_error
from crplugins.core.pipeline import Run
from crplugins.core.waiting import set_within
from crplugins.homes.litellm_objects import ServingDeployment, begin_attempt

IN_METADATA: Final = "crplugins_call"
"""The key in a request's metadata. Its value is a secret of ours: with an id that clients are sent, one could end
another's call."""

LIFETIME: Final = 7200.0
"""Seconds until a call whose end LiteLLM has not reported is settled; longer than its own timeout of 6000."""

SOON: Final = 2.0
"""Seconds that the hooks which see the answer have, once LiteLLM logs a success."""

LAST_SECONDS: Final = 5.0
"""For which a proxy that stops waits for LiteLLM's last reports: longer than `SOON`."""

_METADATA: Final = ("metadata", "litellm_metadata")

logger = logging.getLogger("crplugins.litellm")

_current: ContextVar["ProxyCall | None"] = ContextVar("crplugins.litellm_call", default=None)


class ProxyCall:
    """One request on its way through LiteLLM: a Run, and what LiteLLM's hooks have reported so far.

    Attributes:
        chat: a chat completion; answers of other APIs are understood by LiteLLM's log events only.
        begun: whether the client has been given a status.
        heard, logged: of another API: its answer has said all that it says of itself; LiteLLM has logged its success.
        hides_usage: we have asked for usage in the client's stead.
        estimated: nobody has asked, or the client has disconnected, so that LiteLLM's counts are not the provider's.
        left: the client has disconnected, and LiteLLM has yet to report what was used until then.
        sent_headers: the last response headers of the plugins.
    """

    __slots__ = (
        "begun",
        "chat",
        "estimated",
        "exchange",
        "expiry",
        "heard",
        "hides_usage",
        "left",
        "logged",
        "run",
        "sent_headers",
        "token",
    )

    def __init__(self, run: Run, *, chat: bool = True) -> None:
        self.run = run
        self.exchange = run.exchange
        self.chat = chat
        self.token = token_hex(16)
        self.begun = self.hides_usage = self.estimated = self.left = self.heard = self.logged = False
        self.sent_headers: dict[str, str] = {}
        self.expiry: asyncio.TimerHandle | None = None

    @property
    def settled(self) -> bool:
        return self.run.concluded

    async def enter(self, read_body: Callable[[], Awaitable[None]] | None = None) -> None:
        """Run every `on_request`; `read_body` is awaited where the first needs the body. Raises `GatewayError`."""
        if await self.run.down(read_body) is not None:  # LiteLLM has no way to be answered for
            plugin = self.run.pipeline.steps[self.run.entered - 1].plugin
            logger.error("%s answers requests itself, which needs homes.litellm_proxy:app", plugin.name)
            raise internal_error("hook_error")

    def headers(self, status: int) -> dict[str, str]:
        """What the plugins say in response headers."""
        exchange = self.exchange
        exchange.response_headers = [(b"x-request-id", exchange.id.encode())]
        exchange.responded(status)
        self.run.response()
        self.sent_headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in exchange.response_headers
        }
        return self.sent_headers

    def refusal_headers(self, error: GatewayError) -> tuple[GatewayError, dict[str, str]]:
        """The error that the client is sent, and its headers; another error if a plugin fails on the way out."""
        try:
            headers = self.headers(error.status)
        except GatewayError as second:
            error, headers = second, {"x-request-id": self.exchange.id}
        return error, {**headers, **headers_of(error)}

    def note_attempt(self, deployment: ServingDeployment, *, translated: bool = False) -> None:
        """LiteLLM calls a provider now; or, `translated`, asks in another protocol for the call it has just begun."""
        if self.exchange.timings.app is None:
            self.exchange.timings.app = self.exchange.clock()
        if not translated or not self.exchange.attempts:
            begin_attempt(self.exchange, deployment)

    async def end(self, status: int, error: GatewayError | None = None) -> None:
        """Settle where one may wait. The first call, here or of `settle`, settles; later calls have no effect."""
        if self.settled:
            return
        self.run.conclude(status, error)
        try:
            await self.run.ended()
        finally:
            self.run.finish()

    def settle(self, status: int | None, error: GatewayError | None = None, *, left: bool = False) -> None:
        """Settle where nothing can be awaited."""
        if not self.settled:
            self.run.conclude(status, error, left=left)
            self.run.finish()


def headers_of(error: GatewayError) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in error.headers}


class ProxyCalls:
    """All running calls, by their secret."""

    def __init__(self, *, lifetime: float = LIFETIME) -> None:
        self._lifetime = lifetime
        self._running: dict[str, ProxyCall] = {}
        self._none_runs: Final = asyncio.Event()

    def __len__(self) -> int:
        return len(self._running)

    def add(self, call: ProxyCall, data: dict[str, Any]) -> None:
        """Keep a call that is let through, to be found from what LiteLLM hands to other hooks."""
        self._running[call.token] = call
        call.expiry = asyncio.get_running_loop().call_later(self._lifetime, self._expire, call)
        places = [name for name in _METADATA if isinstance(data.get(name), dict)] or ["metadata"]
        for name in places:
            data[name] = {**(data.get(name) or {}), IN_METADATA: call.token}
        _current.set(call)

    def of(self, data: Mapping[str, Any]) -> ProxyCall | None:
        """The call that a hook's data or logging arguments are about; None for one that is settled or not ours."""
        for token in _tokens(data):
            if (call := self._running.get(token)) is not None:
                return call
        call = _current.get()
        return None if call is None or call.settled else call

    def has(self, data: Mapping[str, Any]) -> bool:
        """Whether this request is let through already."""
        return any(token in self._running for token in _tokens(data))

    def last(self) -> ProxyCall | None:
        """The call of the request that is being served here, settled or not."""
        return _current.get()

    async def end(self, call: ProxyCall, status: int, error: GatewayError | None = None) -> None:
        """Settle where one may wait."""
        self._forget(call)
        await call.end(status, error)

    def settle(self, call: ProxyCall, status: int, error: GatewayError | None = None, *, left: bool = False) -> None:
        """Settle where nothing can be awaited."""
        self._forget(call)
        call.settle(status, error, left=left)

    def settle_soon(self, call: ProxyCall) -> None:
        """LiteLLM logs a success; the hooks that see a chat's answer come at the same time, or not at all."""
        if call.left:
            self._settle_left(call)
        elif not call.chat and (call.heard or not call.exchange.dialect.generates):
            self.settle(call, 200)
        elif not call.settled:
            call.logged = True
            self._in_a_while(call, self.settle, call, 200)

    def heard(self, call: ProxyCall) -> None:
        """An answer of another API has come to its end. LiteLLM logs it then, or has done so."""
        call.heard = True
        if call.logged:
            self.settle(call, 200)

    def settle_left(self, call: ProxyCall) -> None:
        """The client has disconnected. Only LiteLLM's log event reports what was used; it comes now or never."""
        if not call.settled and not call.left:
            call.left = call.estimated = True
            self._in_a_while(call, self._settle_left, call)

    async def settled(self) -> None:
        """Wait until no call is running, for `LAST_SECONDS` at most."""
        if self._running:
            self._none_runs.clear()
            await set_within(self._none_runs, LAST_SECONDS)

    def _settle_left(self, call: ProxyCall) -> None:
        self.settle(call, 200 if call.begun else 499, left=True)

    def _in_a_while(self, call: ProxyCall, callback: Callable[..., None], *arguments: Any) -> None:
        if call.expiry is not None:
            call.expiry.cancel()
        call.expiry = asyncio.get_running_loop().call_later(SOON, callback, *arguments)

    def _forget(self, call: ProxyCall) -> None:
        self._running.pop(call.token, None)
        if not self._running:
            self._none_runs.set()
        if call.expiry is not None:
            call.expiry.cancel()

    def _expire(self, call: ProxyCall) -> None:
        logger.warning("LiteLLM has not reported how request %s ended", call.exchange.id)
        self.settle(call, 200 if call.exchange.usage is not None else 500)


def _tokens(data: Mapping[str, Any]) -> Iterator[str]:
    """From a request's own data, or from the arguments of a log event."""
    inner = data.get("litellm_params")
    for holder in (data, inner if isinstance(inner, Mapping) else {}):
        for name in _METADATA:
            metadata = holder.get(name)
            token = metadata.get(IN_METADATA) if isinstance(metadata, Mapping) else None
            if isinstance(token, str):
                yield token
