"""Quotas of deployments: passed over when they are used up, and told to a client as the gateway's own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest

from crplugins.core.dialects import CHAT
from crplugins.core.errors import GatewayError
from crplugins.handlers.deployment import Deployment
from crplugins.handlers.quota import QuotaUsedUp, first_free
from crplugins.handlers.routing.candidate import Candidate
from crplugins.handlers.routing.group import Group
from crplugins.homes.gateway.app import Gateway
from crplugins.limits.limit import NEVER
from crplugins.testing import FakeProvider, Script, usage_object
from tests.core.doubles import Watcher
from tests.gateway_setup import CLIENT_KEY, HELLO, UPSTREAM_KEY, Setup
from tests.redis_setup import redis, redis_process  # noqa: F401  # fixtures


@dataclass
class Quotas(Setup):
    """A gateway whose model has several deployments, each a provider of its own."""

    providers: tuple[FakeProvider, ...] = ()
    watcher: Watcher = None  # type: ignore[assignment]
    app: Gateway = None  # type: ignore[assignment]

    @property
    def asked(self) -> list[int]:
        return [len(provider.requests) for provider in self.providers]

    async def statuses(self, count: int, **body: Any) -> list[int]:
        return [(await self.post(**body)).status for _ in range(count)]


@pytest.fixture
def gateway(serve: Any) -> Any:
    """`async with gateway({"rpm": 2}, {}) as quotas:` two deployments, of which the first has a quota."""

    @asynccontextmanager
    async def start(
        *own: dict[str, Any],
        handler: str = "direct",
        providers: tuple[FakeProvider, ...] = (),
        limits: dict[str, Any] | None = None,
    ) -> AsyncIterator[Quotas]:
        async with AsyncExitStack() as stack:
            if not providers:
                providers = tuple([await stack.enter_async_context(FakeProvider()) for _ in own])
            models = [
                {
                    "model_name": "m",
                    "litellm_params": {
                        "model": f"openai/model-{number}",
                        "api_base": provider.base_url,
                        "api_key": UPSTREAM_KEY,
                        "max_retries": 0,
                        **quota,
                    },
                    "handler": handler,
                }
                for number, (provider, quota) in enumerate(zip(providers, own, strict=True))
            ]
            watcher = Watcher()
            keys = [{"id": "k", "secret": CLIENT_KEY}]
            app = Gateway(model_list=models, keys=keys, plugins=[watcher], limits=limits)
            url = await stack.enter_async_context(serve(app))
            session = await stack.enter_async_context(aiohttp.ClientSession())
            yield Quotas(providers[0], url, session, providers=providers, watcher=watcher, app=app)

    return start


@pytest.mark.parametrize("handler", ["direct", "litellm"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_deployment_whose_quota_is_used_up_is_passed_over(gateway: Any, handler: str, stream: bool) -> None:
    async with gateway({"rpm": 2}, {}, handler=handler) as quotas:
        assert await quotas.statuses(8, stream=stream) == [200] * 8
        assert quotas.asked == [2, 6]
        assert [attempt.kind for attempt in quotas.watcher.exchange.attempts] == ["initial"], "nobody was asked in vain"


async def test_when_all_are_used_up_the_client_learns_whose_quota_it_is_and_when_to_come_again(gateway: Any) -> None:
    async with gateway({"rpm": 2}, {"rpm": 1}) as quotas:
        assert await quotas.statuses(3) == [200] * 3
        async with openai.AsyncOpenAI(base_url=f"{quotas.url}/v1", api_key=CLIENT_KEY, max_retries=0) as client:
            with pytest.raises(openai.RateLimitError) as refused:
                await client.chat.completions.create(model="m", messages=HELLO)
        error, headers = refused.value, refused.value.response.headers
        assert (error.type, error.code, error.param) == ("server_error", "provider_quota_exceeded", None)
        assert "The gateway's own quota at its model provider is used up" in error.message
        assert 0 < int(headers["retry-after"]) <= 30, "the deployment with two a minute may be asked first"
        assert "x-ratelimit-limit-requests" not in headers
        assert quotas.asked == [2, 1]
        assert (quotas.watcher.exchange.error_type, quotas.watcher.exchange.attempts) == ("upstream_429", [])


async def test_one_deployment_alone_may_have_a_quota(gateway: Any) -> None:
    async with gateway({"rpm": 1}) as quotas:
        assert await quotas.statuses(2) == [200, 429]


async def test_tokens_are_counted_as_they_were_used_and_given_back_by_who_failed(gateway: Any) -> None:
    async with gateway({"tpm": 1000}, {"tpm": 1000}) as quotas:
        first, second = quotas.providers
        first.default = Script.error(500, "no")
        second.default = Script(usage_object=usage_object(300, 100))
        assert await quotas.statuses(2, max_tokens=500) == [200, 200]  # 800 of the second, none of the first
        first.default = Script(usage_object=usage_object(300, 100))
        assert await quotas.statuses(2, max_tokens=500) == [200, 200]
        assert quotas.asked[0] >= 3
        refused = await quotas.post(max_tokens=500)
        assert (refused.status, "provider_quota_exceeded" in refused.text) == (429, True)


async def test_a_provider_that_fails_counts_each_request_that_was_sent_to_it(gateway: Any) -> None:
    async with gateway({"rpm": 2}, {}) as quotas:
        quotas.providers[0].default = Script.error(400, "stream_options is not supported", param="stream_options")
        answer = await quotas.post(stream=True)
        assert answer.status == 400
        assert quotas.asked == [2, 0], "once more without stream_options"
        assert await quotas.statuses(4, stream=True) == [200] * 4
        assert quotas.asked == [2, 4]


async def test_a_stream_takes_its_place_until_its_end(gateway: Any) -> None:
    async with gateway({"max_parallel_requests": 1}, {"max_parallel_requests": 1}) as quotas:
        for provider in quotas.providers:
            provider.default = Script(text="word " * 50, frame_delay=0.05)
        async with quotas.open(stream=True) as one, quotas.open(stream=True) as other:
            assert [one.status, other.status] == [200, 200]
            refused = await quotas.post()
            assert (refused.status, refused.headers["retry-after"]) == (429, "1")
        for provider in quotas.providers:
            provider.default = Script()
        async with asyncio.timeout(30):
            while (await quotas.post()).status != 200:  # noqa: ASYNC110  # the clients have left in the middle
                await asyncio.sleep(0.02)


async def test_a_failure_is_told_rather_than_a_quota(gateway: Any) -> None:
    async with gateway({"rpm": 1}, {}) as quotas:
        assert await quotas.statuses(2) == [200, 200]
        quotas.providers[1].default = Script.error(500, "no")
        assert await quotas.statuses(2) == [500, 500]


async def test_what_is_larger_than_every_quota_is_not_tried_again(gateway: Any) -> None:
    async with gateway({"tpm": 100}, {"tpm": 50}) as quotas:
        refused = await quotas.post(max_tokens=5000)
        assert (refused.status, quotas.asked) == (429, [0, 0])
        assert "The request is larger than that quota." in refused.text
        assert (refused.headers["x-should-retry"], "retry-after" in refused.headers) == ("false", False)


async def test_one_that_is_passed_over_does_not_cool_down(gateway: Any) -> None:
    async with gateway({"tpm": 1000}, {}) as quotas:
        assert await quotas.statuses(1, max_tokens=5000) == [200]
        assert quotas.asked == [0, 1]
        assert await quotas.statuses(4, max_tokens=5) == [200] * 4
        assert quotas.asked == [2, 3], "what is smaller has its turn with it"


async def test_the_limits_of_all_deployments_hold_where_an_entry_says_nothing(gateway: Any) -> None:
    async with gateway({}, {"rpm": 3}, limits={"per_deployment": {"requests_per_minute": 1}}) as quotas:
        assert await quotas.statuses(6) == [200] * 4 + [429] * 2
        assert quotas.asked == [1, 3]


async def test_a_quota_may_be_a_shadow(gateway: Any) -> None:
    async with gateway({"rpm": 1}, limits={"shadow": True}) as quotas:
        assert await quotas.statuses(3) == [200] * 3
        assert [dict(plugin.shadowed) for plugin in quotas.app.plugins if hasattr(plugin, "quota")] == [
            {"rate_limited": 2}
        ]


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
async def test_gateways_with_one_store_share_the_quota(
    gateway: Any, kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = f"sqlite:///{tmp_path}/limits.db" if kind == "sqlite" else request.getfixturevalue("redis").url
    limits = {"store": url, "on_store_error": "closed"}
    async with gateway({"rpm": 4}, {}, limits=limits) as one:
        async with gateway({"rpm": 4}, {}, limits=limits, providers=one.providers) as other:
            answers = []
            while len(answers) < 12:
                each = await (one, other)[len(answers) % 2].post()
                if each.status != 503:  # the store is late on a busy machine
                    answers.append(each.status)
            assert (answers, one.asked) == ([200] * 12, [4, 8])


def test_deployments_of_one_account_are_one_under_any_name_and_no_others_are() -> None:
    base = {"model": "openai/m", "api_base": "https://a.example", "api_key": "sk-secret-1"}
    account = Deployment("a", **base).account
    assert Deployment("b", **base).account == account
    others = [base | {"model": "openai/n"}, base | {"api_base": None}, base | {"api_key": "sk-secret-2"}]
    others.append(base | {"parameters": {"organization": "org"}})
    assert len({account, *(Deployment("a", **other).account for other in others)}) == 5
    assert "secret" not in account


class Refuses:
    def __init__(self, wait: int) -> None:
        self.wait = wait

    async def answer(self, exchange: Any, body: Any) -> Any:
        raise QuotaUsedUp(self.wait, Granting(0))


async def test_the_shortest_wait_is_told() -> None:
    deployments = [Deployment("m", f"openai/{wait}") for wait in (NEVER, 7000, 3001)]
    group = Group([Candidate(each, Refuses(wait)) for each, wait in zip(deployments, (NEVER, 7000, 3001), strict=True)])  # type: ignore[arg-type]
    with pytest.raises(GatewayError) as refused:
        await group.answer(_Anything(), None)  # type: ignore[arg-type]
    assert dict(refused.value.headers) == {b"retry-after": b"4", b"retry-after-ms": b"3001"}


class _Anything:
    id = "r"
    attempts = ()
    dialect = CHAT
    kept_at = None

    def clock(self) -> float:
        return 0.0


QUEUE = {"seconds": 20, "length": 100}


async def test_a_request_waits_for_the_first_deployment_that_is_free(gateway: Any) -> None:
    quota = {"max_parallel_requests": 1, "queue": QUEUE}
    async with gateway(quota, quota) as quotas:
        for provider in quotas.providers:
            provider.default = Script(text="word " * 10, frame_delay=0.03)
        answers = await asyncio.gather(*[quotas.post(stream=True) for _ in range(6)])
        assert [answer.status for answer in answers] == [200] * 6
        assert sorted(quotas.asked) in ([2, 4], [3, 3]), "each goes where a place is free"
        positions = [answer.headers.get("x-crplugins-queue-position") for answer in answers]
        assert positions.count(None) == 2
        assert all(limit.used == 0 for limit in await levels(quotas))


async def levels(quotas: Quotas) -> Any:
    [plugin] = [plugin for plugin in quotas.app.plugins if hasattr(plugin, "quota")]
    assert not plugin.reservations.queues.waiting
    entries = [served.deployment for served in quotas.app._generation._upstreams._served]
    limits = [each.limit for entry in entries for each in plugin.quota(entry.account, entry.quota).applied().all]
    return await plugin.reservations.levels(limits)


async def test_another_deployment_that_is_free_is_asked_before_anybody_waits(gateway: Any) -> None:
    async with gateway({"rpm": 1, "queue": QUEUE}, {}) as quotas:
        assert await quotas.statuses(4) == [200] * 4
        assert quotas.asked == [1, 3]


async def test_a_deployment_that_is_free_too_late_is_a_429_at_once(gateway: Any) -> None:
    async with gateway({"rpm": 1, "queue": {"seconds": 2}}) as quotas:
        assert await quotas.statuses(1) == [200]
        refused = await quotas.post()
        assert (refused.status, "provider_quota_exceeded" in refused.text) == (429, True)
        assert 50 <= int(refused.headers["retry-after"]) <= 60


async def test_a_failure_of_one_is_mended_by_waiting_for_another(gateway: Any) -> None:
    async with gateway({"max_parallel_requests": 1, "queue": QUEUE}, {}) as quotas:
        quotas.providers[0].default = Script(text="word " * 10, frame_delay=0.05)
        quotas.providers[1].default = Script.error(500, "no")
        answers = await asyncio.gather(*[quotas.post(stream=True) for _ in range(3)])
        assert [answer.status for answer in answers] == [200] * 3


async def test_a_client_that_disconnects_while_it_waits_for_a_deployment_frees_its_place(gateway: Any) -> None:
    async with gateway({"max_parallel_requests": 1, "queue": QUEUE}) as quotas:
        quotas.providers[0].default = Script(text="word " * 400, frame_delay=0.05)
        [plugin] = [plugin for plugin in quotas.app.plugins if hasattr(plugin, "quota")]
        queues = plugin.reservations.queues
        async with quotas.open(stream=True) as running:
            assert running.status == 200
            waits = asyncio.create_task(quotas.post(stream=True))
            async with asyncio.timeout(30):
                while not queues.waiting:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                waits.cancel()
                while queues.waiting:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                left = quotas.watcher.exchanges[1]
                while left.outcome is None:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        assert quotas.asked == [1]
        assert (left.outcome, left.usage, left.usage_source) == ("cancelled", None, "none"), "nobody has worked for it"


async def test_what_a_deployment_takes_at_once_is_found_out_by_its_429s(gateway: Any) -> None:
    async with gateway({"adaptive_concurrency": True, "queue": QUEUE, "max_parallel_requests": 4}) as quotas:
        quotas.providers[0].default = Script.error(429, "slow down")
        assert set(await quotas.statuses(3)) == {429}
        [plugin] = [plugin for plugin in quotas.app.plugins if hasattr(plugin, "quota")]
        [concurrency] = plugin._concurrency.values()
        assert (concurrency.limit < 4, concurrency.running) == (True, 0)


class Granting:
    """A quota that lets everybody through after a moment."""

    def __init__(self, turns: int, *, refuses: bool = False) -> None:
        self.turns, self.refuses = turns, refuses
        self.accepted = self.given_back = self.cancelled = 0

    async def wait(self, exchange: Any) -> Any:
        try:
            for _ in range(self.turns):
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return None if self.refuses else self

    async def accept(self) -> None:
        self.accepted += 1

    def give_back(self) -> None:
        self.given_back += 1


async def test_of_two_that_are_free_at_once_one_is_given_back() -> None:
    one, other, late, never = Granting(3), Granting(3), Granting(500), Granting(1, refuses=True)
    used_up = [QuotaUsedUp(1000, quota) for quota in (never, one, other, late)]
    free = await first_free(used_up, None)  # type: ignore[arg-type]
    await asyncio.sleep(0)
    assert free in used_up[1:3]
    assert (one.accepted + other.accepted, one.given_back + other.given_back) == (1, 1)
    assert (late.cancelled, late.accepted, never.accepted) == (1, 0, 0)


async def test_nobody_is_free_where_all_refuse_and_what_is_too_large_is_not_waited_for() -> None:
    refusing, too_large = Granting(2, refuses=True), Granting(1)
    assert await first_free([QuotaUsedUp(1, refusing), QuotaUsedUp(NEVER, too_large)], None) is None  # type: ignore[arg-type]
    assert too_large.accepted == 0


async def test_a_request_that_is_cancelled_while_it_waits_waits_nowhere() -> None:
    quotas = [Granting(500), Granting(500)]
    waits = asyncio.create_task(first_free([QuotaUsedUp(1, each) for each in quotas], None))  # type: ignore[arg-type]
    for _ in range(5):
        await asyncio.sleep(0)
    waits.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waits
    await asyncio.sleep(0)
    assert [each.cancelled for each in quotas] == [1, 1]
