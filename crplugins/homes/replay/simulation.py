"""Simulation: the plugins that refuse, and the store of limits, in a time that is over.

They are those of every other home, made of the configuration by `assembly.py`, and run by the same `Run`. Here they
meet the requests of a ledger at the times at which they met those of the gateway: a request reserves when it did, and
settles when it was over, with the usage that was recorded.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Literal, NamedTuple, Self

import msgspec

from crplugins.config import Config
from crplugins.core.bounded_map import BoundedMap
from crplugins.core.errors import GatewayError, model_not_found
from crplugins.core.exchange import Exchange
from crplugins.core.identity import Identities
from crplugins.core.outcome import ErrorType
from crplugins.core.patterns import Pattern
from crplugins.core.pipeline import Faults, Pipeline, Run
from crplugins.core.principal import Principal
from crplugins.core.usage import Price, TokenUsage
from crplugins.handlers.deployment import Deployment
from crplugins.homes.assembly import make
from crplugins.homes.parts import Parts
from crplugins.homes.price_list import PriceList
from crplugins.homes.replay.clock import SimulatedLoop
from crplugins.homes.replay.history import PastRequest, exchange_of
from crplugins.keys.key import Key
from crplugins.keys.state import state_of
from crplugins.limits.memory import MemoryStore
from crplugins.limits.reservations import Reservations
from crplugins.metering.record import cost_of_answer
from crplugins.plugins.budgets.plugin import Budgets, Spent
from crplugins.plugins.rate_limits.plugin import RateLimits
from crplugins.plugins.rate_limits.rules import NO_LIMITS

SpentBefore = Mapping[tuple[str, str, datetime], int]
"""Micro-USD by scope, owner and beginning of the period, in requests that began before the simulation does."""


class Fate(NamedTuple):
    """What becomes of a request.

    Attributes:
        refused: why; "" for one that is let through.
        limit: which limit or budget refuses it, or what is wrong with its key.
        wait: milliseconds after which the limit would have let it through; None where no time would help.
        cost_micro_usd: None where the price is unknown.
        assumed: it was refused really, so that what it would have used is taken from requests like it.
    """

    past: PastRequest
    refused: ErrorType
    limit: str = ""
    wait: int | None = None
    cost_micro_usd: int | None = 0
    assumed: bool = False


class Simulation:
    """Decides anew about requests, which are fed in the order in which they began. A context manager.

    Args:
        keys: those that are known.
        strangers: whether any other key is let through, with the limits of those without their own.
        spent: what budgets begin with.
        start: seconds since 1970.

    Attributes:
        shadowed: how many requests the limits, budgets and allow-lists in shadow mode would have refused, by reason.
    """

    def __init__(
        self,
        config: Config,
        keys: Iterable[Key],
        prices: PriceList,
        spent: SpentBefore,
        start: float,
        *,
        strangers: bool,
    ) -> None:
        self._loop: Final = SimulatedLoop(start)
        self._keys: Final = {key.id: key for key in keys}
        self._strangers: Final = strangers
        self._prices: Final = prices
        self._deployments: Final = config.deployments()
        self._answered: Final[BoundedMap[tuple[str, str], Price | None]] = BoundedMap()
        parts = Parts(config, prices, serves=prices.serves, spent=_known(spent))
        clock = self._loop.milliseconds
        parts.reservations = Reservations(MemoryStore(clock=clock), clock=clock)
        rules = msgspec.structs.replace(parts.identities.rules, missing_session="ignore")
        parts.identities = Identities(rules)
        limits, budgets = make(RateLimits, parts), make(Budgets, parts)
        limits.rules = msgspec.structs.replace(limits.rules, per_client_address=NO_LIMITS)
        self.shadowed: Final = (parts.aliases.shadowed, limits.shadowed, budgets.shadowed)
        self._plugins: Final = (parts.aliases, limits, budgets)
        self._pipeline: Final = Pipeline(self._plugins, Faults(), config.server.max_body_bytes)
        self._typical: Final = Typical()
        self._running: Final[set[asyncio.Task[None]]] = set()
        self._failures: Final[list[BaseException]] = []
        self._entered: Final = AsyncExitStack()

    def feed(self, requests: Iterable[PastRequest], decided: Callable[[Fate], None]) -> None:
        """Let time pass up to the last of them. `decided` is called in the order in which requests end."""
        self._loop.run_until_complete(self._feed(list(requests), decided))

    def __enter__(self) -> Self:
        self._loop.run_until_complete(self._enter())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """What still runs comes to its end first."""
        try:
            self._loop.run_until_complete(self._exit(abandon=error is not None))
        finally:
            self._loop.close()

    async def _enter(self) -> None:
        for plugin in self._plugins:
            await self._entered.enter_async_context(plugin)

    async def _exit(self, *, abandon: bool) -> None:
        if abandon:
            for task in self._running:
                task.cancel()
        if self._running:
            await asyncio.wait(self._running)
        await self._entered.aclose()
        self._raise_failure()

    async def _feed(self, requests: list[PastRequest], decided: Callable[[Fate], None]) -> None:
        for past in requests:
            if past.came_to_limits:
                task = self._loop.create_task(self._live(past, decided))
                self._running.add(task)
                task.add_done_callback(self._over)
            else:
                decided(Fate(past, past.error_type, "not decided anew", cost_micro_usd=past.cost_micro_usd))
        if requests:
            await self._loop.until(requests[-1].started_at.timestamp())
        self._raise_failure()

    def _over(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            self._failures.append(failure)

    def _raise_failure(self) -> None:
        """A bug here, not a refusal."""
        if self._failures:
            raise self._failures.pop()

    async def _live(self, past: PastRequest, decided: Callable[[Fate], None]) -> None:
        """One request, from the moment at which it asks its limits."""
        await self._loop.until(past.asked_at)
        if wrong := self._wrong_key(past):
            decided(Fate(past, "unauthenticated", wrong))
            return
        exchange = exchange_of(past, self._principal(past), self._loop)
        run = Run(self._pipeline, exchange)
        fate, error, status = None, None, None
        try:
            await run.down()
            exchange.timings.app = self._loop.time()
            served = exchange.served_model or exchange.requested_model or ""
            if not self._prices.serves(served):
                raise model_not_found(served)
            seconds = self._used(past, exchange, served)
            await asyncio.sleep(seconds)
            status = 200 if past.refused else past.status
        except GatewayError as refusal:
            error = refusal
            fate = Fate(past, refusal.error_type, refusal.limit or refusal.error.code or "", _wait_of(refusal))
        run.conclude(status, error)
        if fate is None:
            fate = Fate(past, "", cost_micro_usd=cost_of_answer(exchange).micro_usd, assumed=bool(past.refused))
        run.finish()
        decided(fate)

    def _wrong_key(self, past: PastRequest) -> str:
        """What is wrong with the key at that time; "" if nothing is."""
        if past.key_id is None:
            return ""
        key = self._keys.get(past.key_id)
        if key is None:
            return "" if self._strangers else "no such key"
        state = state_of(key, datetime.fromtimestamp(self._loop.time(), UTC))
        return "" if state == "live" else f"key {state}"

    def _principal(self, past: PastRequest) -> Principal | None:
        if past.key_id is None:
            return None
        known = self._keys.get(past.key_id)
        return Principal(past.key_id, team=past.team) if known is None else known.principal

    def _used(self, past: PastRequest, exchange: Exchange, served: str) -> float:
        """Note what the request has used, and at what price. Returns how many seconds it took."""
        if past.refused:
            usage, seconds = self._typical.of(past)
            exchange.counted(usage, "estimated")
        else:
            if past.usage_source == "cache":
                exchange.answered_from_cache()
            if past.usage_source != "none":
                exchange.counted(past.usage, past.usage_source)
            seconds = past.seconds
            exchange.service_tier, exchange.provider_cost_micro_usd = past.service_tier, past.provider_cost_micro_usd
            if past.error_type == "":
                self._typical.add(past, seconds)
        exchange.price = self._price_of(past, served)
        return seconds

    def _price_of(self, past: PastRequest, served: str) -> Price | None:
        """Of the deployment that answered, if the configuration has it; else that of the model."""
        upstream = past.served_model
        if upstream is None:
            return self._prices(served)
        if (served, upstream) not in self._answered:
            own = [each for each in self._deployments if Pattern.of(each.name).matches(served)]
            found = next((each for each in (*own, *self._deployments) if _asks_for(each, served, upstream)), None)
            price = self._prices(served) if found is None else found.price_for(served if found in own else found.name)
            self._answered[served, upstream] = price
        return self._answered[served, upstream]


def _asks_for(deployment: Deployment, served: str, upstream: str) -> bool:
    """Whether its provider is asked for `upstream` where clients ask for `served`: as one name, or behind a slash."""
    model = deployment.model_for(served, deployment.model)
    return upstream in (model, model.partition("/")[2])


class Typical:
    """What earlier requests like one have used on the average: those of its key and model, or all."""

    def __init__(self) -> None:
        self._sums: Final[BoundedMap[tuple[str | None, str | None], list[float]]] = BoundedMap()
        self._all: Final = [0.0] * 4

    def add(self, past: PastRequest, seconds: float) -> None:
        group = (past.key_id, past.requested_model)
        sums = self._sums.get(group)
        if sums is None:
            sums = self._sums[group] = [0.0] * 4
        for each in (sums, self._all):
            for index, value in enumerate((1, past.input_tokens, past.output_tokens, seconds)):
                each[index] += value

    def of(self, past: PastRequest) -> tuple[TokenUsage, float]:
        """The prompt as it was estimated, where it was; the answer no longer than the client let it be."""
        number, prompt, output, seconds = self._sums.get((past.key_id, past.requested_model)) or self._all
        if not number:
            return TokenUsage(past.expected_input_tokens or 0), 0.0
        expected = round(prompt / number) if past.expected_input_tokens is None else past.expected_input_tokens
        answer = round(output / number)
        return TokenUsage(expected, min(answer, past.output_limit or answer)), seconds / number


def _known(spent: SpentBefore) -> Spent:
    """As Budgets asks a ledger, which is answered without one."""

    async def ask(scope: Literal["key", "team"], owner: str, since: datetime) -> int:
        return spent.get((scope, owner, since), 0)

    return ask


def _wait_of(refusal: GatewayError) -> int | None:
    """Milliseconds, as the client is told."""
    return next((int(value) for name, value in refusal.headers if name == b"retry-after-ms"), None)
