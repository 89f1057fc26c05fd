"""What was used, over HTTP: a key sees its own numbers and nobody else's."""

import asyncio
import json
import logging
import sys
from datetime import UTC, datetime

import aiohttp
import jsonschema
import pytest

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.core.usage import TokenUsage
from crplugins.homes.gateway.openapi import with_admin, with_usage
from crplugins.homes.gateway.usage_api import AT_ONCE, MOST_LINES, MOST_OF_ONE, PUBLIC_PATHS, UsageApi
from crplugins.homes.gateway.web import Web
from crplugins.keys.inline import InlineKeys
from crplugins.ledger.ledger import Ledger
from crplugins.plugins.auth import Auth
from crplugins.schema import openapi_document
from tests.ledger.conftest import NOON, make_record, settled, until, what_may_block  # noqa: F401  # a fixture

TOKEN = "admin-token-0123456789"
ADMIN = {"authorization": f"Bearer {TOKEN}"}
A, B = ({"authorization": f"Bearer sk-{name}"} for name in "ab")
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)

RECORDS = [
    {"key_id": "a", "requested_model": "fast", "user": "ann", "usage": TokenUsage(10, 1), "cost_micro_usd": 1_500_000},
    {"key_id": "a", "requested_model": "fast", "started_at": NOON - 86_400, "usage": TokenUsage(20, 2)},
    {"key_id": "a", "requested_model": "big", "cost_micro_usd": None},
    {"key_id": "b", "requested_model": "secret-model-of-b", "user": "bob-of-b", "usage": TokenUsage(77_777, 0)},
]


@pytest.fixture
async def ledger(tmp_path):
    async with Ledger(f"sqlite:///{tmp_path}/usage.db", commit_seconds=0) as ledger:
        for record in RECORDS:
            ledger.add(make_record(**{"started_at": NOON - 60} | record))
        await settled(ledger)
        yield ledger


def app_of(ledger, **options):
    web = Web(lambda _: [], lambda: "ok", dict).app(UsageApi(ledger, now=lambda: NOW, **options).routes())
    keys = InlineKeys([{"id": name, "secret": f"sk-{name}"} for name in "ab"])
    return PluginMiddleware(web, plugins=[Auth(keys, public_paths=PUBLIC_PATHS)])


@pytest.fixture
async def ask(serve, ledger):
    """`await ask("/v1/usage?by=model", A)`: status and body."""
    async with serve(app_of(ledger, admin_tokens={"admin": TOKEN})) as url, aiohttp.ClientSession() as session:

        async def get(path, headers):
            async with session.get(url + path, headers=headers) as answer:
                assert answer.headers["content-type"] == "application/json"
                assert answer.headers["x-request-id"]
                return answer.status, await answer.json()

        yield get


@pytest.mark.parametrize("path", ["/v1/usage", "/usage"])
async def test_a_key_sees_what_it_used_of_each_model(ask, path):
    status, body = await ask(path, A)
    assert (status, body["object"]) == (200, "list")
    assert body["data"][0] == {
        "requested_model": "fast", "requests": 2, "errors": 0, "input_tokens": 30, "output_tokens": 3,
        "cached_input_tokens": 0, "cache_write_input_tokens": 0, "reasoning_output_tokens": 0,
        "cost_usd": 1.500123, "unpriced_requests": 0, "estimated_requests": 0,
        "provider_cost_usd": 0.000242,
    }  # fmt: skip
    assert [(line["requested_model"], line["requests"], line["cost_usd"]) for line in body["data"][1:]] == [
        ("big", 1, None)
    ]


async def test_groups_times_and_filters(ask):
    _, body = await ask("/v1/usage?by=day&since=7d", A)
    assert [(line["day"], line["requests"]) for line in body["data"]] == [("2026-05-31", 1), ("2026-06-01", 2)]
    _, body = await ask("/v1/usage?by=&since=2026-06-01&model=fast", A)
    assert [line["requests"] for line in body["data"]] == [1]
    _, body = await ask("/v1/usage?by=user&until=2026-06-01T00:00:00%2B00:00", A)
    assert [(line["user"], line["requests"]) for line in body["data"]] == [("u-1", 1)]


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?by=",
        "?by=model,day,user",
        "?by=outcome,error_type",
        "?model=secret-model-of-b",
        "?user=bob-of-b",
        "?since=2000-01-01",
    ],
)
async def test_nothing_of_another_key_is_seen(ask, query):
    status, body = await ask(f"/v1/usage{query}", A)
    assert status == 200
    assert sum(line["requests"] for line in body["data"]) <= 3
    assert not any(of_b in json.dumps(body) for of_b in ("secret-model-of-b", "bob-of-b", "7777"))


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("by=key", "by"),
        ("by=team", "by"),
        ("by=provider", "by"),
        ("by=served_model", "by"),
        ("by=provider_model", "by"),
        ("by=cost_source", "by"),
        ("by=model,model", "by"),
        ("by=nonsense", "by"),
        ("key=b", "key"),
        ("key_id=b", "key_id"),
        ("team=search", "team"),
        ("by=model&by=day", "by"),
        ("model=fast&model=big", "model"),
        ("since=yesterday", "since"),
        ("since=", "since"),
        ("until=soon", "until"),
        ("since=1d&until=2d", "until"),
        ("limit=10", "limit"),
    ],
)
async def test_what_a_key_may_not_ask_is_refused_by_its_name(ask, query, param):
    status, body = await ask(f"/v1/usage?{query}", A)
    assert status == 400
    assert (body["error"]["type"], body["error"]["param"]) == ("invalid_request_error", param)
    assert f"'{param}'" in body["error"]["message"]


async def test_a_key_is_needed(ask):
    assert (await ask("/v1/usage", {}))[0] == 401
    assert (await ask("/v1/usage", ADMIN))[0] == 401


async def test_without_auth_before_it_nobody_sees_anything(serve, ledger):
    web = Web(lambda _: [], lambda: "ok", dict).app(UsageApi(ledger).routes())
    async with serve(web) as url, aiohttp.ClientSession() as session, session.get(url + "/v1/usage") as answer:
        assert answer.status == 401
        assert (await answer.json())["error"]["message"].startswith("You didn't provide an API key")


async def test_the_operator_sees_all(ask):
    status, body = await ask("/admin/usage", ADMIN)
    assert status == 200
    assert [(line["key_id"], line["requested_model"], line["requests"]) for line in body["data"]] == [
        ("a", "fast", 2), ("b", "secret-model-of-b", 1), ("a", "big", 1),
    ]  # fmt: skip
    _, body = await ask("/admin/usage?by=provider,day&key=b", ADMIN)
    assert [(line["provider"], line["day"], line["requests"]) for line in body["data"]] == [("openai", "2026-06-01", 1)]


@pytest.mark.parametrize(
    "headers", [{}, A, {"authorization": "Bearer admin-token-012345678"}, {"authorization": TOKEN}]
)
async def test_the_operators_token_is_needed(ask, headers):
    status, body = await ask("/admin/usage", headers)
    assert status == 401
    assert "data" not in body


async def test_without_an_admin_token_there_is_no_such_path(serve, ledger):
    async with serve(app_of(ledger)) as url, aiohttp.ClientSession() as session:
        async with session.get(url + "/admin/usage", headers=ADMIN) as answer:
            assert answer.status == 404


async def test_a_ledger_that_cannot_be_read_is_503_and_says_nothing_about_itself(serve, ledger, caplog, monkeypatch):
    async def fail(_question):
        raise ConnectionRefusedError("postgresql://u:hunter2@db.internal")

    monkeypatch.setattr(ledger, "answer", fail)
    caplog.set_level(logging.INFO)
    async with serve(app_of(ledger)) as url, aiohttp.ClientSession() as session:
        async with session.get(url + "/v1/usage", headers=A) as answer:
            body = await answer.json()
            assert (answer.status, body["error"]["type"]) == (503, "server_error")
            assert answer.headers["retry-after"]
    assert "hunter2" not in json.dumps(body) + caplog.text


async def test_the_document_describes_the_answers(ask):
    document = with_usage(with_admin(openapi_document(title="t", version="1")), admin=True)
    assert {"/v1/usage", "/admin/usage"} <= set(document["paths"])
    schema = {"$ref": "#/components/schemas/UsageList", "components": document["components"]}
    for path, headers in (("/v1/usage", A), ("/v1/usage?by=day,user", A), ("/admin/usage", ADMIN)):
        jsonschema.validate((await ask(path, headers))[1], schema)
    assert document["paths"]["/admin/usage"]["get"]["security"] == [{"admin": []}]
    assert "/admin/usage" not in with_usage(openapi_document(title="t", version="1"), admin=False)["paths"]


async def test_a_client_that_invents_users_gets_no_book_of_them_and_keeps_nobody_from_an_answer(serve, ledger):
    """A line for each of as many users as there were requests held the event loop for seconds."""
    for number in range(MOST_LINES - 1):
        ledger.add(make_record(key_id="a", user=f"u-{number}", started_at=NOON - 60))
    ledger.add(make_record(key_id="a", user="the first", started_at=NOON - 86_400))
    await settled(ledger)
    calls = 0

    def count(_frame, _event, _argument):
        nonlocal calls
        calls += 1

    app = app_of(ledger, admin_tokens={"admin": TOKEN})
    async with serve(app) as url, aiohttp.ClientSession() as session:

        async def get(path, headers):
            async with session.get(url + path, headers=headers) as answer:
                return answer.status, json.loads(await answer.read())

        for path, headers in (("/v1/usage", A), ("/admin/usage", ADMIN)):
            status, body = await get(f"{path}?by=user", headers)
            assert (status, body["error"]["param"], body["error"]["code"]) == (400, "by", "invalid_value")
            assert f"{MOST_LINES:,}" in body["error"]["message"]
        assert (await get("/v1/usage?by=model", A))[0] == 200
        before = sys.getprofile()
        sys.setprofile(count)  # of this thread, in which the gateway runs too
        try:
            status, body = await get("/v1/usage?by=user&since=2026-06-01", A)
        finally:
            sys.setprofile(before)
        assert (status, len(body["data"])) == (200, MOST_LINES)
        assert calls < MOST_LINES


async def test_a_key_that_asks_much_at_once_waits_by_itself(serve, ledger, monkeypatch):
    answer, asked, go = ledger.answer, [], asyncio.Event()

    async def slowly(question):
        asked.append(question.only["key"])
        await go.wait()
        return await answer(question)

    monkeypatch.setattr(ledger, "answer", slowly)
    async with serve(app_of(ledger)) as url, aiohttp.ClientSession() as session:

        async def get(headers):
            async with session.get(url + "/v1/usage", headers=headers) as got:
                return got.status, got.headers.get("retry-after"), await got.json()

        many = [asyncio.create_task(get(A)) for _ in range(MOST_OF_ONE + 3)]
        await until(lambda: sum(each.done() for each in many) == 3)
        others = asyncio.create_task(get(B))
        refused = [each.result() for each in many if each.done()]
        assert [(status, wait, body["error"]["code"]) for status, wait, body in refused] == [
            (429, "1", "rate_limit_exceeded")
        ] * 3
        assert asked == ["a"] * AT_ONCE
        go.set()
        assert [(await each)[0] for each in (*many, others)].count(200) == MOST_OF_ONE + 1
        assert (await get(A))[0] == 200
