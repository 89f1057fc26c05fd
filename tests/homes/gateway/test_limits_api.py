"""`GET /v1/limits`: a key sees its own limits and budgets as they stand, whatever store they are kept in."""

import asyncio
from contextlib import asynccontextmanager

import aiohttp
import jsonschema
import pytest

from crplugins.homes.caller_limits import CallerLimits
from crplugins.homes.gateway.app import Gateway
from crplugins.ledger.ledger import Ledger
from crplugins.testing import FakeProvider
from tests.ledger.conftest import make_record, settled
from tests.redis_setup import redis_process  # noqa: F401  # fixture

A, B = ({"authorization": f"Bearer sk-{name}"} for name in "ab")
KEYS = [
    {
        "id": "a",
        "secret": "sk-a",
        "team": "search",
        "models": ["fast"],
        "limits": {"requests_per_day": 10, "tokens_per_day": 1000, "max_parallel_requests": 2},
        "budget": {"usd": 5, "period": "month"},
    },
    {"id": "b", "secret": "sk-b"},
]
PRICES = {"input_cost_per_token": 0.001, "output_cost_per_token": 0.001}


@asynccontextmanager
async def gateway(serve, provider, **words):
    """`await ask("GET", "/v1/limits", headers)`: status and body."""
    params = {"model": "openai/m", "api_base": provider.base_url, "api_key": "sk-up"}
    model = {"model_name": "served", "litellm_params": params, "model_info": PRICES, "handler": "direct"}
    hidden = {**model, "model_name": "hidden"}
    app = Gateway(**{"model_list": [model, hidden], "aliases": {"fast": "served"}, "keys": KEYS} | words)
    async with serve(app) as url, aiohttp.ClientSession() as session:

        async def ask(method, path, headers=A, body=None):
            async with session.request(method, url + path, headers=headers, json=body) as answer:
                return answer.status, await answer.json()

        yield ask


async def chat(ask, headers=A):
    body = {"model": "fast", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
    return (await ask("POST", "/v1/chat/completions", headers, body))[0]


async def limits_when(ask, ready):
    """The answer for which `ready` holds: a client has its last byte before a shared store is told of its request."""
    async with asyncio.timeout(30):
        while True:
            status, body = await ask("GET", "/v1/limits")
            if ready(body):
                return status, body
            await asyncio.sleep(0.01)  # the store's server sets no event


@pytest.fixture(params=["memory", "sqlite", "redis"])
def store(request, tmp_path):
    if request.param == "redis":
        return request.getfixturevalue("redis_process").url
    return "memory" if request.param == "memory" else f"sqlite:///{tmp_path}/limits.db"


async def test_limits_and_budgets_of_a_key_and_its_team_are_shown_with_what_is_used(serve, store):
    limits = {
        "store": store,
        "per_team": {"search": {"requests_per_hour": 100, "shadow": True}},
        "per_key_and_model": {"served": {"requests_per_minute": 3}, "hidden": {"requests_per_minute": 4}},
        "per_model": {"served": {"requests_per_minute": 50}},
    }
    budgets = {"per_team": {"search": {"usd": 100, "period": "total"}}}
    async with FakeProvider() as provider:
        async with gateway(serve, provider, limits=limits, budgets=budgets) as ask:
            assert await chat(ask) == 200
            status, body = await limits_when(
                ask, lambda body: body["budgets"][0]["spent_usd"] == 0.008 and body["limits"][2]["used"] == 0
            )
            assert status == 200
            lines = {(line["name"], line["scope"]): line for line in body["limits"]}
            assert body["object"] == "limits"
            assert (body["key"], body["team"]) == ("a", "search")
            assert list(lines) == [
                ("requests_per_day", "key"), ("tokens_per_day", "key"), ("max_parallel_requests", "key"),
                ("requests_per_hour", "team"), ("requests_per_minute", "key"),
            ]  # fmt: skip
            daily = lines["requests_per_day", "key"]
            assert 8600 <= daily.pop("reset_seconds") <= 8640
            assert daily == {
                "name": "requests_per_day", "scope": "key", "owner": "a", "models": None, "limit": 10, "burst": 10,
                "used": 1, "remaining": 9, "window_seconds": 86_400, "used_in_window": 1, "shadow": False,
            }  # fmt: skip
            tokens = lines["tokens_per_day", "key"]
            assert (tokens["used"], tokens["remaining"], tokens["used_in_window"]) == (8, 992, 8)
            parallel = lines["max_parallel_requests", "key"]
            assert (parallel["remaining"], parallel["window_seconds"], parallel["reset_seconds"]) == (2, None, None)
            assert lines["requests_per_hour", "team"]["shadow"]
            assert lines["requests_per_minute", "key"]["models"] == ["fast"]  # not what serves it
            monthly, total = body["budgets"]
            assert monthly.pop("resets_at").endswith("-01T00:00:00Z")
            assert monthly == {
                "scope": "key", "owner": "a", "period": "month", "limit_usd": 5.0, "spent_usd": 0.008,
                "remaining_usd": 4.992, "shadow": False,
            }  # fmt: skip
            assert (total["scope"], total["owner"], total["resets_at"]) == ("team", "search", None)
            assert (await ask("GET", "/limits"))[1]["budgets"][1] == total


async def test_a_key_sees_nothing_of_another_and_one_without_limits_an_empty_list(serve):
    async with FakeProvider() as provider, gateway(serve, provider) as ask:
        await chat(ask)
        assert (await ask("GET", "/v1/limits?key=a", B))[1] == {
            "object": "limits", "key": "b", "team": None, "limits": [], "budgets": [],
        }  # fmt: skip
        assert (await ask("GET", "/v1/limits", {}))[0] == 401
        assert (await ask("GET", "/v1/limits", {"authorization": "Bearer sk-c"}))[0] == 401


async def test_what_was_spent_before_a_restart_is_shown_before_the_first_request(serve, tmp_path):
    url = f"sqlite:///{tmp_path}/usage.db"
    async with Ledger(url) as ledger:
        ledger.add(make_record(key_id="a", cost_micro_usd=2_000_000))
        await settled(ledger)
    keys = [{**KEYS[0], "budget": {"usd": 5, "period": "total"}}]
    async with FakeProvider() as provider, gateway(serve, provider, keys=keys, ledger={"url": url}) as ask:
        [budget] = (await ask("GET", "/v1/limits"))[1]["budgets"]
        assert (budget["spent_usd"], budget["remaining_usd"]) == (2.0, 3.0)


async def test_the_operator_sees_the_limits_of_any_key(serve):
    token = "admin-token-0123456789"
    admin = {"authorization": f"Bearer {token}"}
    async with FakeProvider() as provider, gateway(serve, provider, admin={"token": token}) as ask:
        own = (await ask("GET", "/v1/limits", B))[1]
        assert await ask("GET", "/admin/limits?key=b", admin) == (200, own)
        for path, headers, status in (
            ("?key=c", admin, 404), ("", admin, 400), ("?key=a&by=x", admin, 400), ("?key=b", B, 401),
        ):  # fmt: skip
            assert (await ask("GET", f"/admin/limits{path}", headers))[0] == status


async def test_a_store_that_cannot_be_read_is_503(serve):
    limits = {"store": "redis://127.0.0.1:1/0", "on_store_error": "closed"}
    async with FakeProvider() as provider, gateway(serve, provider, limits=limits) as ask:
        status, body = await ask("GET", "/v1/limits")
        assert (status, body["error"]["type"]) == (503, "server_error")


async def test_the_openapi_document_describes_it(serve):
    limits = {"per_key_and_model": {"served": {"tokens_per_minute": 100, "burst": {"tokens_per_minute": 10}}}}
    async with FakeProvider() as provider, gateway(serve, provider, limits=limits) as ask:
        _, document = await ask("GET", "/openapi.json")
        operation = document["paths"]["/v1/limits"]["get"]
        schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/CallerLimits"}
        validator = jsonschema.Draft202012Validator({**schema, "components": document["components"]})
        for headers in (A, B):
            _, body = await ask("GET", "/v1/limits", headers)
            validator.validate(body)
            assert body.keys() == set(CallerLimits.__struct_fields__)
