"""vLLM's endpoints besides chat completions, where chat completions are counted."""

import httpx
import openai
import pytest

from tests.homes.host_model import HostModel
from tests.homes.test_vllm import vllm_app

KEYS = """
keys:
  - {id: free, secret: sk-free-0123456789}
  - {id: shadow, secret: sk-shadow-0123456789, budget: {usd: 1, period: day, shadow: true}, models: [x], models_shadow: true}
  - {id: limited, secret: sk-limited-0123456789, limits: {requests_per_minute: 60}}
  - {id: paid, secret: sk-paid-0123456789, budget: {usd: 1, period: day}}
  - {id: narrow, secret: sk-narrow-0123456789, models: [llama]}
  - {id: admin, secret: sk-admin-0123456789, admin: true, models: [llama]}
"""
BOUNDED = ("limited", "paid", "narrow")


@pytest.fixture
def vllm(serve, monkeypatch, tmp_path, blockbuster):
    """`async with vllm(text) as url:` vLLM's app, with the embeddings and completions it also has, behind the file."""
    for function in blockbuster.functions.values():
        function.can_block_in("crplugins/homes/vllm.py", {"_document"})
        function.can_block_in("fastapi/routing.py", {"_extract_endpoint_context"})

    def start(text: str):
        file = tmp_path / "gateway.yaml"
        file.write_text(text)
        monkeypatch.setenv("CRPLUGINS_CONFIG", str(file))
        app = vllm_app(HostModel(), "crplugins.homes.vllm.Middleware")
        for path in ("/v1/score", "/ping", "/tokenize", *OPERATORS):
            app.post(path)(_done)
        app.get("/server_info")(_done)
        return serve(app)

    return start


async def _done() -> dict[str, str]:
    return {"object": "done"}


async def post(url: str, path: str, key: str) -> object:
    async with openai.AsyncOpenAI(base_url=url, api_key=f"sk-{key}-0123456789", max_retries=0) as client:
        return await client.post(path, body={"model": "llama", "input": "x"}, cast_to=object)


async def test_a_key_with_a_bound_cannot_go_around_it(vllm):
    async with vllm(KEYS) as url:
        for key in ("free", "shadow"):
            assert await post(url, "/v1/score", key) == {"object": "done"}
        for key in BOUNDED:
            with pytest.raises(openai.PermissionDeniedError) as refused:
                await post(url, "/v1/score", key)
            assert refused.value.body["code"] == "endpoint_not_metered"
            assert refused.value.body["message"] == (
                "You may not use /v1/score here: nothing limits or records what it uses."
            )


OPERATORS = ("/v1/load_lora_adapter", "/reset_prefix_cache", "/sleep", "/collective_rpc", "/of_a_later_vllm")


async def test_no_key_of_a_client_changes_the_server_or_sees_its_insides(vllm):
    async with vllm(KEYS) as url:
        for key in ("free", "shadow", *BOUNDED):
            for path in OPERATORS:
                with pytest.raises(openai.PermissionDeniedError) as refused:
                    await post(url, path, key)
                assert refused.value.body["code"] == "endpoint_for_operators"
        for path in OPERATORS:
            assert await post(url, path, "admin") == {"object": "done"}
        async with httpx.AsyncClient() as client:
            for path, status in {"/server_info": 403, "/metrics/": 200, "/v1/models": 200, "/nowhere": 403}.items():
                answer = await client.get(url + path, headers={"authorization": "Bearer sk-free-0123456789"})
                assert answer.status_code == status, path
            settings = await client.get(f"{url}/server_info", headers={"authorization": "Bearer sk-admin-0123456789"})
            assert settings.status_code == 200


async def test_without_keys_here_vllm_guards_what_is_its_operators(vllm):
    async with vllm("limits: {per_model: {llama: {requests_per_minute: 60}}}") as url:
        with pytest.raises(openai.PermissionDeniedError):  # it would go around the limit
            await post(url, "/v1/score", "any")
    async with vllm("metrics: {token: null}") as url:
        assert await post(url, "/sleep", "any") == {"object": "done"}


@pytest.mark.parametrize(
    "section",
    [
        "ledger: {{url: 'sqlite:///{folder}/usage.db', commit_seconds: 0}}",
        "limits: {{global: {{requests_per_minute: 9}}}}",
        "budgets: {{per_key: {{usd: 1, period: day}}}}",
        "budgets: {{per_team: {{search: {{usd: 1, period: day}}}}}}",
    ],
)
async def test_what_counts_for_everybody_bounds_every_key(vllm, tmp_path, section):
    async with vllm(KEYS + section.format(folder=tmp_path)) as url:
        with pytest.raises(openai.PermissionDeniedError):
            await post(url, "/v1/score", "free")


async def test_where_nothing_counts_every_key_opens_whatever_serves_the_model(vllm):
    async with vllm(KEYS + "metrics: {token: null}") as url:
        for path in ("/v1/score", "/tokenize"):
            assert await post(url, path, "free") == {"object": "done"}


@pytest.mark.parametrize("named", ["/v1/score", "/v1/*"])
async def test_a_path_that_is_named_may_be_used(vllm, named):
    async with vllm(f"{KEYS}server: {{unmetered_paths: ['{named}']}}") as url:
        assert await post(url, "/v1/score", "limited") == {"object": "done"}


async def test_what_runs_nothing_needs_no_name(vllm):
    async with vllm(KEYS + "limits: {global: {requests_per_minute: 9}}") as url:
        assert await post(url, "/ping", "limited") == {"object": "done"}
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="sk-limited-0123456789") as client:
            assert [model.id async for model in client.models.list()] == ["llama"]


async def test_a_path_that_is_none_is_refused_with_its_line(vllm, caplog):
    with pytest.raises(RuntimeError, match="could not start"):
        async with vllm("server:\n  unmetered_paths: [v1/score]\n"):
            pass
    assert "line 2: server.unmetered_paths" in caplog.text
