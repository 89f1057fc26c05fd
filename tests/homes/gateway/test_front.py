"""The gateway under a prefix, and for browsers, over real sockets."""

import json
from contextlib import asynccontextmanager

import aiohttp
import pytest

from crplugins.config import ConfigError, parse_config
from crplugins.homes.gateway.app import Gateway
from crplugins.homes.gateway.cors import EXPOSED
from crplugins.testing import FakeProvider

APP = "https://app.example.com"
KEY = {"authorization": "Bearer sk-front"}
ADMIN = {"authorization": "Bearer sk-admin-0123456789"}
PREFLIGHT = {
    "origin": APP,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type,x-stainless-os",
}
QUESTION = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def gateway(serve):
    """`async with gateway(cors=[...]) as ask:`; `ask(path)` gives status, headers and body."""

    @asynccontextmanager
    async def running(**server):
        async with FakeProvider() as provider, aiohttp.ClientSession() as session:
            params = {"model": "openai/m", "api_base": provider.base_url, "api_key": "sk-upstream"}
            app = Gateway(
                model_list=[{"model_name": "m", "litellm_params": params, "handler": "direct"}],
                keys=[{"file": "keys.yaml"}],
                limits={"per_key": {"requests_per_minute": 2}},
                server=server,
                metrics={"token": None},
                admin={"token": "sk-admin-0123456789"},
            )
            async with serve(app) as url:

                async def ask(path, method="GET", headers=KEY, **options):
                    async with session.request(method, url + path, headers=headers, **options) as answer:
                        return answer.status, answer.headers, await answer.read()

                yield ask

    return running


@pytest.fixture(autouse=True)
def keys_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "keys.yaml").write_text("keys: [{id: k, secret: sk-front}]\n")


@pytest.mark.parametrize("prefix", ["/llm", "/a/b.c"])
async def test_under_a_prefix_all_is_served_whether_the_proxy_takes_it_off_or_not(gateway, prefix):
    async with gateway(root_path=prefix) as ask:
        for before in (prefix, ""):
            assert (await ask(f"{before}/v1/chat/completions", "POST", json=QUESTION))[0] == 200
            assert [(await ask(before + path))[0] for path in ("/v1/models", "/models/m", "/healthz", "/metrics")] == [
                200
            ] * 4
            assert (await ask(f"{before}/admin/keys", headers=ADMIN))[0] == 200
        document = json.loads((await ask(f"{prefix}/openapi.json"))[2])
        assert document["servers"] == [{"url": prefix}]


async def test_what_guards_a_path_and_what_serves_it_agree_on_the_prefix(gateway):
    async with gateway(root_path="/llm") as ask:
        nobody = {"headers": {}, "allow_redirects": False}
        for path in (
            "/llm/v1/models",
            "/llmx/v1/models",
            "/LLM/v1/models",
            "/llm//v1/models",
            "/%6Clm/v1/models",
        ):
            assert (await ask(path, **nobody))[0] == 401
        for path in ("/llm", "/llm/"):  # what the gateway says of itself to people
            assert (await ask(path, **nobody))[0] == 200
        for path in ("/llmx/healthz", "/llm/llm/healthz", "//llm/healthz", "/LLM/healthz"):
            assert (await ask(path, **nobody))[0] == 401
        # A limited request is limited under every spelling that reaches it.
        for path in ("/llm/v1/chat/completions", "/v1/chat/completions"):
            assert (await ask(path, "POST", json=QUESTION))[0] == 200
        for path in ("/llm/v1/chat/completions", "/%6Clm/v1/chat/completions", "/chat/completions"):
            assert (await ask(path, "POST", json=QUESTION))[0] == 429


@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/chat/completions", "/v1/models", "/llm/v1/models", "/admin/keys"]
)
@pytest.mark.parametrize("cors", [APP, ["https://other.example", APP.upper()], {"allow_origins": [APP]}, "*"])
async def test_a_preflight_is_answered_without_a_key(gateway, cors, path):
    async with gateway(cors=cors, root_path="/llm") as ask:
        status, headers, _ = await ask(path, "OPTIONS", headers=PREFLIGHT)
        assert status == 200
        assert headers["access-control-allow-origin"] == ("*" if cors == "*" else APP)
        assert "POST" in headers["access-control-allow-methods"]
        assert headers["access-control-allow-headers"] == PREFLIGHT["access-control-request-headers"]
        assert "access-control-allow-credentials" not in headers


@pytest.mark.parametrize("cors", [None, ["https://other.example"]])
@pytest.mark.parametrize("origin", [APP, "null", "https://other.example.evil.example", "https://other.example:444"])
async def test_an_origin_that_is_not_listed_is_permitted_nothing(gateway, cors, origin):
    async with gateway(cors=cors) as ask:
        status, headers, body = await ask("/v1/models", "OPTIONS", headers=PREFLIGHT | {"origin": origin})
        assert (status, body) == (204, b"")
        assert not [name for name in headers if name.lower().startswith("access-control")]
        _, headers, _ = await ask("/v1/models", headers=KEY | {"origin": origin, "cookie": "a=b"})
        assert "access-control-allow-origin" not in headers


async def test_a_page_reads_refusals_too_and_the_headers_that_clients_need(gateway):
    async with gateway(cors=[APP]) as ask:
        origin = {"origin": APP, "cookie": "a=b"}
        answers = [await ask("/v1/chat/completions", "POST", headers=KEY | origin, json=QUESTION) for _ in range(3)]
        answers.append(await ask("/v1/models", headers=origin))
        assert [status for status, _, _ in answers] == [200, 200, 429, 401]
        for _, headers, _ in answers:
            assert headers["access-control-allow-origin"] == APP
            assert headers["access-control-expose-headers"] == ", ".join(EXPOSED)
            assert "access-control-allow-credentials" not in headers
            assert "origin" in headers["vary"].lower()
        shown = {name.lower() for _, headers, _ in answers for name in headers}
        assert {name for name in shown if name.startswith(("x-", "retry"))} <= set(EXPOSED)


async def test_with_every_origin_none_is_named(gateway):
    async with gateway(cors="*") as ask:
        _, headers, _ = await ask("/v1/models", headers=KEY | {"origin": "https://any.example", "cookie": "a=b"})
        assert headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in headers


@pytest.mark.parametrize(
    ("server", "text"),
    [
        ({"root_path": "llm"}, "server.root_path: must be a path such as /llm, without a slash at the end"),
        ({"root_path": "/llm/"}, "server.root_path: must be a path"),
        ({"root_path": "/"}, "server.root_path: must be a path"),
        ({"root_path": "/a/../b"}, "server.root_path: must be a path"),
        ({"root_path": "/a%2Fb"}, "server.root_path: must be a path"),
        ({"cors": "https://app.example.com/"}, "server.cors.allow_origins[0]: must be an origin"),
        ({"cors": ["app.example.com"]}, "server.cors.allow_origins[0]: must be an origin"),
        ({"cors": ["https://*.example.com"]}, "server.cors.allow_origins[0]: must be an origin"),
        ({"cors": []}, "server.cors.allow_origins: must not be empty"),
        ({"cors": {"origins": ["*"]}}, "server.cors.origins: unknown key, did you mean 'allow_origins'?"),
        ({"cors": True}, "server.cors: must be a mapping"),
    ],
)
def test_what_is_no_prefix_and_no_origin_is_refused(server, text):
    with pytest.raises(ConfigError) as refused:
        parse_config({"server": server})
    assert text in str(refused.value)
