"""Keys and names of a whole gateway: who may call what, under which name, and when a key stops working."""

import asyncio
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest

from crplugins.homes.gateway.app import Gateway
from crplugins.keys.opening import open_store
from crplugins.testing import FakeProvider

A, B, C = "sk-team-a-0123456789", "sk-team-b-0123456789", "sk-team-c-0123456789"
HI = [{"role": "user", "content": "hi"}]
KEYS = [
    {"id": "a", "secret": A, "models": ["fast", "gpt-4*"], "team": "search"},
    {"id": "b", "secret": B, "aliases": {"mine": "gpt-4o-mini"}},
    {"id": "c", "secret": C, "expires": "2020-01-01"},
]


@pytest.fixture
async def ask(serve):
    async with FakeProvider() as provider:
        params = {"api_base": provider.base_url, "api_key": "sk-up"}
        models = [
            {"model_name": name, "litellm_params": {"model": f"openai/up-{name}", **params}}
            for name in ("gpt-4o", "gpt-4o-mini", "hidden")
        ]
        app = Gateway(
            model_list=models,
            keys=KEYS,
            aliases={"fast": "gpt-4o-mini", "gpt-3.5*": "gpt-4o-mini"},
            team_aliases={"search": {"fast": "gpt-4o"}},
        )
        async with serve(app) as url, aiohttp.ClientSession() as session:

            async def call(secret, path="/v1/models", body=None):
                headers = {"authorization": f"Bearer {secret}"}
                method = "GET" if body is None else "POST"
                async with session.request(method, url + path, json=body, headers=headers) as answer:
                    return answer.status, await answer.text()

            call.provider = provider
            yield call


async def chat(ask, secret, model, *, stream=False):
    return await ask(secret, "/v1/chat/completions", {"model": model, "messages": HI, "stream": stream})


@pytest.mark.parametrize("stream", [False, True])
async def test_the_client_sees_the_name_it_asked_for_and_the_upstream_its_own(ask, stream):
    status, text = await chat(ask, A, "fast", stream=stream)
    assert status == 200
    assert '"model":"fast"' in text
    assert "gpt-4o" not in text
    assert ask.provider.last_request.model == "up-gpt-4o"  # the team's alias comes before the gateway's


async def test_a_key_sees_and_calls_exactly_its_models(ask):
    for secret, names in (
        (A, ["gpt-4o", "gpt-4o-mini", "fast"]),
        (B, ["gpt-4o", "gpt-4o-mini", "hidden", "fast", "mine"]),
    ):
        _, text = await ask(secret)
        assert [
            name for name in ("gpt-4o", "gpt-4o-mini", "hidden", "fast", "mine") if f'"id":"{name}"' in text
        ] == names
    hidden, unknown = await chat(ask, A, "hidden"), await chat(ask, A, "nobody")
    assert hidden[0] == unknown[0] == 404
    assert hidden[1].replace("hidden", "nobody") == unknown[1]
    assert (await chat(ask, B, "hidden"))[0] == 200
    assert (await ask(A, "/v1/models/hidden"))[0] == 404
    assert (await ask(A, "/v1/models/fast"))[0] == 200


async def test_a_wildcard_serves_what_old_clients_ask_for(ask):
    status, text = await chat(ask, B, "gpt-3.5-turbo")
    assert (status, '"model":"gpt-3.5-turbo"' in text) == (200, True)


async def test_an_expired_key_is_told_so(ask):
    status, text = await chat(ask, C, "fast")
    assert status == 401
    assert "expired" in text
    assert C not in text


async def test_a_key_made_and_revoked_in_a_file_counts_by_itself(serve, tmp_path):
    path = tmp_path / "keys.yaml"
    path.write_text("keys: []\n")
    async with open_store(str(path)) as store:
        now = datetime.now(UTC)
        app = Gateway(keys={"file": str(path)})
        async with serve(app) as url, aiohttp.ClientSession() as session:

            async def status(secret):
                async with session.get(url + "/v1/models", headers={"authorization": f"Bearer {secret}"}) as answer:
                    return answer.status

            async def becomes(secret, expected):
                async with asyncio.timeout(60):
                    while await status(secret) != expected:  # noqa: ASYNC110
                        await asyncio.sleep(0.05)

            await store.add(_key(store, "team", "sk-first-0123456789abcdef", now))
            await becomes("sk-first-0123456789abcdef", 200)
            second = store.digester.stored("sk-second-0123456789abcdef", now)
            await store.rotate("team", second, timedelta(hours=1), now)
            await becomes("sk-second-0123456789abcdef", 200)
            assert await status("sk-first-0123456789abcdef") == 200
            await store.revoke("team", datetime.now(UTC))
            await becomes("sk-second-0123456789abcdef", 401)
            assert await status("sk-first-0123456789abcdef") == 401


def _key(store, key_id, secret, now):
    from crplugins.core.principal import Principal
    from crplugins.keys.key import Key

    return Key(Principal(key_id), (store.digester.stored(secret, now),), now)
