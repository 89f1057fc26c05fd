"""Scraper: answers Prometheus. MetricsApp and MetricsPage bring it what is asked, as an ASGI app and as a plugin.

prometheus_client's app renders on the event loop, where a few thousand series hold up every stream for a tenth of a
second.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import parse_qs

from starlette.types import Receive, Scope, Send

from crplugins.core.errors import GatewayError, Header, internal_error
from crplugins.core.exchange import Exchange, Reply
from crplugins.core.plugin import Plugin
from crplugins.core.single_flight import SingleFlight
from crplugins.homes.assembly import find
from crplugins.homes.token_digest import TokenDigest
from crplugins.keys.refusals import refused
from crplugins.limits.memory import MemoryStore
from crplugins.limits.store import LimitStore
from crplugins.plugins.admission import Admission
from crplugins.plugins.aliases.plugin import ModelAliases
from crplugins.plugins.budgets.plugin import Budgets
from crplugins.plugins.metrics.limits import LimitGauges
from crplugins.plugins.metrics.plugin import Metrics
from crplugins.plugins.metrics.shared import LedgerState, SinkState, WebhookState
from crplugins.plugins.rate_limits.deployments import DeploymentQuotas
from crplugins.plugins.rate_limits.plugin import RateLimits
from crplugins.plugins.usage import Usage

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from crplugins.limits.outage import GuardedStore

GZIP_LEVEL: Final = 1
"""The text repeats itself: higher levels cost several times as much and save little."""

Encode = Callable[[Any], bytes]

logger = logging.getLogger("crplugins.metrics")


class ScrapeRequest(NamedTuple):
    """What is asked for. Equal ones have the same answer."""

    accept: str
    gzip: bool
    names: tuple[str, ...]

    @classmethod
    def of(cls, query: bytes, headers: Iterable[Header]) -> "ScrapeRequest":
        names = parse_qs(query.decode("latin-1")).get("name[]", ())
        gzip = _accepts_gzip(_header(headers, b"accept-encoding"))
        return cls(_header(headers, b"accept"), gzip, tuple(sorted(names)))


class Rendered(NamedTuple):
    headers: list[Header]
    body: bytes


class Scraper:
    """Answers a scrape with the metrics in the format that the scraper prefers.

    `?name[]=crplugins_requests_total` leaves out all samples but those of that name. Scrapes that come while an equal
    one is being rendered share its result.

    Args:
        metrics: the plugin that counts.
        token: the bearer token that every scrape needs; None serves everybody.
    """

    def __init__(self, metrics: Metrics, *, token: str | None) -> None:
        self.metrics: Final = metrics
        self._token = None if token is None else TokenDigest(token, "metrics")
        self._gauges: LimitGauges | None = None
        self._watched: set[int] = set()
        """The ids of what is shown already: watched twice it would count twice."""
        self._renderings: SingleFlight[Rendered] = SingleFlight()
        # One thread: rendering is pure Python, and a second would only take more turns from the event loop.
        self._thread = ThreadPoolExecutor(1, "crplugins-metrics")

    @contextmanager
    def watching_anew(self, token: str | None) -> Iterator[None]:
        """What is watched within the block is shown, and nothing of what was before; a scrape needs this token."""
        self._token = None if token is None else TokenDigest(token, "metrics")
        self._watched.clear()
        with self.metrics.observing_anew():
            yield

    def watch(self, plugins: Sequence[Plugin], faults: Mapping[tuple[str, str], int]) -> None:
        """Show how the limits, budgets, ledgers and room among `plugins` stand, and which hooks have failed."""
        self.metrics.observe_faults(faults)
        usage = find(Usage, plugins)
        ledger = None if usage is None else usage.ledger
        if isinstance(ledger, LedgerState) and self._is_new(ledger):
            self.metrics.observe_ledger(ledger)
        for recorder in () if usage is None else usage.recorders:
            if isinstance(recorder, SinkState) and self._is_new(recorder):
                self.metrics.observe_sink(recorder)
        admission = find(Admission, plugins)
        if admission is not None and self._is_new(admission):
            self.metrics.observe_admission(admission)
        for limiting in (find(RateLimits, plugins), find(DeploymentQuotas, plugins)):
            queues = None if limiting is None else limiting.reservations.queues
            if queues is not None and self._is_new(queues):  # both have the same where they share a store
                self.metrics.observe_queues(queues.lengths)
        webhooks = next((each for each in plugins if isinstance(each, WebhookState)), None)
        if webhooks is not None and self._is_new(webhooks):
            self.metrics.observe_webhooks(webhooks)
        gauges = _limit_gauges(self.metrics, plugins)
        if gauges is not None:
            if self._gauges is None:
                self.metrics.add_collector(self)
            self._gauges = gauges

    def _is_new(self, source: object) -> bool:
        if id(source) in self._watched:
            return False
        self._watched.add(id(source))
        return True

    def collect(self) -> "Iterable[Metric]":
        """The limits as they stand; a collector of prometheus_client's."""
        return () if self._gauges is None else self._gauges.collect()

    async def refresh(self) -> None:
        """Read how the limits stand, for what collects then."""
        if self._gauges is not None:
            await self._gauges.refresh()

    async def scrape(self, method: str, path: str, query: bytes, headers: Iterable[Header]) -> Reply:
        """The answer to a scrape, or the refusal of one: 405, 401, 500."""
        try:
            self._check(method, path, headers)
            scrape = ScrapeRequest.of(query, headers)
            rendered = await self._renderings.run(scrape, lambda: self._render(scrape))
            reply = Reply(200, rendered.headers, rendered.body)
        except GatewayError as error:
            reply = Reply(error.status, error.response_headers(), error.body())
        return Reply(reply.status, reply.headers, b"") if method == "HEAD" else reply

    def _check(self, method: str, path: str, headers: Iterable[Header]) -> None:
        """Raises `GatewayError` for what is no scrape, and for one without the token."""
        if method not in ("GET", "HEAD"):
            raise _not_allowed(method, path)
        if self._token is None:
            return
        scheme, _, presented = _header(headers, b"authorization").strip().partition(" ")
        if scheme.lower() != "bearer" or not presented.strip():
            logger.warning("a scrape without the token is refused")
            raise _no_token()
        if not self._token.matches(presented.strip()):
            logger.warning("a scrape with a wrong token is refused")
            raise refused("Incorrect metrics token provided.")

    async def _render(self, scrape: ScrapeRequest) -> Rendered:
        try:
            await self.refresh()
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._rendered, scrape)
        except Exception:  # a collector of others, or a file of another worker's that is torn
            logger.exception("the metrics cannot be rendered")
            raise internal_error() from None

    def _rendered(self, scrape: ScrapeRequest) -> Rendered:
        encode, content_type = _encoder(scrape.accept)
        body = encode(self.metrics.exposed(scrape.names))
        headers = [(b"content-type", content_type.encode("latin-1")), (b"vary", b"accept, accept-encoding")]
        if scrape.gzip:
            import gzip  # in the thread of scrapes

            body = gzip.compress(body, GZIP_LEVEL, mtime=0)
            headers.append((b"content-encoding", b"gzip"))
        return Rendered([*headers, (b"content-length", str(len(body)).encode())], body)


class MetricsApp:
    """The scraper as an ASGI app, on whatever path it is mounted."""

    def __init__(self, scraper: Scraper) -> None:
        self._scraper = scraper

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del receive
        if scope["type"] != "http":
            return
        reply = await self._scraper.scrape(scope["method"], scope["path"], scope["query_string"], scope["headers"])
        await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
        await send({"type": "http.response.body", "body": reply.body})


class MetricsPage(Plugin):
    """The scraper under a path of somebody else's app.

    Stands outermost: a scraper has a token of its own, or none, and never a key.

    Args:
        path: relative to where the app is mounted.
    """

    every_path = True

    def __init__(self, scraper: Scraper, *, path: str) -> None:
        self.scraper = scraper
        self.path = path

    async def on_request(self, exchange: Exchange) -> None:
        if exchange.path == self.path:
            exchange.reply = await self.scraper.scrape(exchange.method, exchange.path, exchange.query, exchange.headers)


def _limit_gauges(metrics: Metrics, plugins: Sequence[Plugin]) -> LimitGauges | None:
    """Metrics of the limits, budgets and allow-lists among the plugins; None where there are none of them."""
    rate_limits, budgets, aliases = find(RateLimits, plugins), find(Budgets, plugins), find(ModelAliases, plugins)
    quotas = find(DeploymentQuotas, plugins)
    deciding = [plugin for plugin in (rate_limits, budgets, aliases, quotas) if plugin is not None]
    if not deciding:
        return None
    rate_limits, budgets = rate_limits or RateLimits(), budgets or Budgets()
    return LimitGauges(
        rate_limits,
        budgets,
        key_label=metrics.key_label,
        shadowed=[plugin.shadowed for plugin in deciding],
        store=_guarded(rate_limits.reservations.store),
    )


def _guarded(store: LimitStore) -> "GuardedStore | None":
    if isinstance(store, MemoryStore):
        return None
    from crplugins.limits.outage import GuardedStore  # which knows when its store is unavailable

    return store if isinstance(store, GuardedStore) else None


def _encoder(accept: str) -> tuple[Encode, str]:
    """In the thread: the first call imports prometheus_client."""
    from prometheus_client.exposition import choose_encoder

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
