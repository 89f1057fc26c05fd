"""MetricsApp: where Prometheus scrapes, as an ASGI app of its own.

prometheus_client's app renders on the event loop, where a few thousand series hold up every stream for a tenth of a
second.
"""

import asyncio
import gzip
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, cast
from urllib.parse import parse_qs

from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from starlette.types import Message, Receive, Scope, Send

from crplugins.core.errors import GatewayError, Header, internal_error
from crplugins.core.exchange import Exchange, Reply
from crplugins.core.plugin import Plugin
from crplugins.homes.token_digest import TokenDigest
from crplugins.keys.refusals import refused
from crplugins.ledger.ledger import LedgerState
from crplugins.limits.outage import GuardedStore
from crplugins.plugins.budgets.plugin import Budgets
from crplugins.plugins.metrics.limits import LimitGauges
from crplugins.plugins.metrics.plugin import Metrics
from crplugins.plugins.rate_limits.plugin import RateLimits
from crplugins.plugins.usage import Usage

GZIP_LEVEL: Final = 1
"""The text repeats itself: higher levels cost several times as much and save little."""

Encode = Callable[[Any], bytes]

logger = logging.getLogger("crplugins.metrics")


@dataclass(frozen=True, slots=True)
class Scrape:
    """What is asked for. Equal ones have the same answer."""

    content_type: str
    gzip: bool
    names: tuple[str, ...]
    encode: Encode = field(compare=False)

    @classmethod
    def of(cls, scope: Scope) -> "Scrape":
        headers = scope["headers"]
        encode, content_type = _encoder(_header(headers, b"accept"))
        names = parse_qs(scope["query_string"].decode("latin-1")).get("name[]", ())
        return cls(content_type, _accepts_gzip(_header(headers, b"accept-encoding")), tuple(sorted(names)), encode)


class Rendered(NamedTuple):
    headers: list[Header]
    body: bytes


class MetricsApp:
    """Answers GET and HEAD, on whatever path, with the metrics in the format that the scraper prefers.

    `?name[]=crplugins_requests_total` leaves out all samples but those of that name. Scrapes that come while an equal
    one is being rendered share its result.

    Args:
        metrics: the plugin that counts.
        token: the bearer token that every scrape needs; None serves everybody.
        refresh: awaited before each scrape, for metrics that are read off a store.
    """

    def __init__(
        self, metrics: Metrics, *, token: str | None, refresh: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        self._metrics = metrics
        self._refresh = refresh
        self._token = None if token is None else TokenDigest(token, "metrics")
        self._running: dict[Scrape, asyncio.Task[Rendered]] = {}
        # One thread: rendering is pure Python, and a second would only take more turns from the event loop.
        self._thread = ThreadPoolExecutor(1, "crplugins-metrics")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del receive
        if scope["type"] != "http":
            return
        try:
            self._check(scope)
            status, (headers, body) = 200, await self._answer(Scrape.of(scope))
        except GatewayError as error:
            status, headers, body = error.status, error.response_headers(), error.body()
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    def _check(self, scope: Scope) -> None:
        """Raises `GatewayError` for what is no scrape, and for one without the token."""
        if scope["method"] not in ("GET", "HEAD"):
            raise _not_allowed(scope["method"], scope["path"])
        if self._token is None:
            return
        scheme, _, presented = _header(scope["headers"], b"authorization").strip().partition(" ")
        if scheme.lower() != "bearer" or not presented.strip():
            raise _no_token()
        if not self._token.matches(presented.strip()):
            logger.warning("a scrape with a wrong token is refused")
            raise refused("Incorrect metrics token provided.")

    async def _answer(self, scrape: Scrape) -> Rendered:
        """Shielded, so that a scraper which gives up takes nobody else's answer with it."""
        task = self._running.get(scrape)
        if task is None:
            task = self._running[scrape] = asyncio.create_task(self._render(scrape))
            task.add_done_callback(lambda _task: self._running.pop(scrape, None))
        return await asyncio.shield(task)

    async def _render(self, scrape: Scrape) -> Rendered:
        try:
            if self._refresh is not None:
                await self._refresh()
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._rendered, scrape)
        except Exception:  # a collector of others, or a file of another worker's that is torn
            logger.exception("the metrics cannot be rendered")
            raise internal_error() from None

    def _rendered(self, scrape: Scrape) -> Rendered:
        body = scrape.encode(self._metrics.exposed(scrape.names))
        headers = [(b"content-type", scrape.content_type.encode("latin-1")), (b"vary", b"accept, accept-encoding")]
        if scrape.gzip:
            body = gzip.compress(body, GZIP_LEVEL, mtime=0)
            headers.append((b"content-encoding", b"gzip"))
        return Rendered([*headers, (b"content-length", str(len(body)).encode())], body)


def _encoder(accept: str) -> tuple[Encode, str]:
    try:
        return choose_encoder(accept)
    except (TypeError, ValueError):  # a version that is no version
        return choose_encoder("")


def _header(headers: Iterable[Header], name: bytes) -> str:
    """All values of a header; "" if it is absent."""
    return ", ".join(value.decode("latin-1") for key, value in headers if key == name)


def _accepts_gzip(accepted: str) -> bool:
    for coding in accepted.lower().split(","):
        name, _, weight = coding.replace(" ", "").partition(";q=")
        if name == "gzip":
            return weight.strip("0.") != "" or weight == ""
    return False


def _not_allowed(method: str, path: str) -> GatewayError:
    message = f"Not allowed to {method} on {path}. (HINT: Perhaps you meant to use a different HTTP method?)"
    return GatewayError(405, message, headers=[("allow", "GET, HEAD")])


def _no_token() -> GatewayError:
    message = "You didn't provide the metrics token. Send it in an Authorization header (Authorization: Bearer TOKEN)."
    return GatewayError(401, message, headers=[("www-authenticate", "Bearer")])


def limit_gauges(metrics: Metrics, plugins: Sequence[Plugin]) -> LimitGauges | None:
    """Metrics of the limits and budgets among the plugins; None where there are neither."""
    rate_limits = next((plugin for plugin in plugins if isinstance(plugin, RateLimits)), None)
    budgets = next((plugin for plugin in plugins if isinstance(plugin, Budgets)), None)
    if rate_limits is None and budgets is None:
        return None
    rate_limits, budgets = rate_limits or RateLimits(), budgets or Budgets()
    store = rate_limits.reservations.store
    return LimitGauges(
        rate_limits,
        budgets,
        key_label=metrics.key_label,
        store=store if isinstance(store, GuardedStore) else None,
    )


class MetricsPage(Plugin):
    """Answers requests for `path`, in the stead of the app inside, as MetricsApp does; `?name[]=` leaves out nothing.

    Stands outermost: a scraper has a token of its own, or none, and never a key.

    Args:
        metrics: the plugin that counts.
        path: relative to where the app is mounted.
        token: what every scrape presents; None serves everybody.
    """

    chat_only = False

    def __init__(self, metrics: Metrics, *, path: str, token: str | None) -> None:
        self.path = path
        self._metrics = metrics
        self._app = MetricsApp(metrics, token=token, refresh=self._refresh)
        self._gauges: LimitGauges | None = None
        self._ledgers: set[int] = set()
        metrics.add_collector(self)

    def watch(self, plugins: Iterable[Plugin], faults: Mapping[tuple[str, str], int]) -> None:
        """Show how the limits, budgets and ledgers among `plugins` stand, and what has failed."""
        self._metrics.observe_faults(faults)
        found = list(plugins)
        self._watch_ledgers(found)
        self._gauges = limit_gauges(self._metrics, found) or self._gauges

    def _watch_ledgers(self, plugins: Iterable[Plugin]) -> None:
        """Each once: what is watched twice would count twice."""
        for ledger in [plugin.ledger for plugin in plugins if isinstance(plugin, Usage)]:
            if ledger is not None and hasattr(ledger, "spooled") and id(ledger) not in self._ledgers:
                self._ledgers.add(id(ledger))
                self._metrics.observe_ledger(cast("LedgerState", ledger))

    async def on_request(self, exchange: Exchange) -> None:
        if exchange.path == self.path:
            exchange.reply = await self._scraped(exchange)

    def collect(self) -> Iterable[Metric]:
        return () if self._gauges is None else self._gauges.collect()

    async def _refresh(self) -> None:
        if self._gauges is not None:
            await self._gauges.refresh()

    async def _scraped(self, exchange: Exchange) -> Reply:
        sent: list[Message] = []

        async def keep(message: Message) -> None:
            sent.append(message)

        await self._app(_scope_of(exchange), _nothing, keep)
        start, body = sent
        return Reply(start["status"], list(start["headers"]), body["body"])


def _scope_of(exchange: Exchange) -> dict[str, Any]:
    headers: Sequence[tuple[bytes, bytes]] = exchange.headers
    return {
        "type": "http",
        "method": exchange.method,
        "path": exchange.path,
        "query_string": b"",
        "headers": headers,
    }


async def _nothing() -> Message:
    return {"type": "http.disconnect"}
