"""The gateway's small endpoints, over real sockets."""

import re

import aiohttp
import pytest

from crplugins.homes.gateway.app import Gateway

KEY = {"authorization": "Bearer sk-web"}
MODEL = {"litellm_params": {"model": "openai/x", "api_base": "http://127.0.0.1:1/v1"}}


@pytest.fixture
async def get(serve):
    names = ["fast", "org/big", "open*"]
    app = Gateway(
        model_list=[{"model_name": name, **MODEL} for name in names if "*" not in name]
        + [{"model_name": "open*", "litellm_params": {**MODEL["litellm_params"], "model": "openai/*"}}],
        keys=[{"id": "k", "secret": "sk-web"}],
    )
    async with serve(app) as url, aiohttp.ClientSession() as session:

        async def ask(path, method="GET", headers=KEY, **options):
            async with session.request(method, url + path, headers=headers, allow_redirects=False, **options) as answer:
                return answer.status, answer.headers, await answer.json(content_type=None)

        yield ask


@pytest.mark.parametrize("prefix", ["/v1", ""])
async def test_the_model_list_has_openais_shape_and_hides_wildcards(get, prefix):
    status, headers, body = await get(prefix + "/models")
    assert status == 200
    assert headers["content-type"] == "application/json"
    assert body["object"] == "list"
    assert [m["id"] for m in body["data"]] == ["fast", "org/big"]
    assert all(m["object"] == "model" and isinstance(m["created"], int) and m["owned_by"] for m in body["data"])


@pytest.mark.parametrize("path", ["/v1/models/org/big", "/v1/models/org%2Fbig", "/models/org/big"])
async def test_a_model_is_found_by_an_id_with_a_slash(get, path):
    status, _, body = await get(path)
    assert (status, body["id"]) == (200, "org/big")


async def test_a_model_that_fits_a_pattern_is_found_and_the_pattern_is_none(get):
    assert [(await get(f"/v1/models/{name}"))[0] for name in ("open-1", "open%2A", "open*")] == [200, 404, 404]


async def test_an_unknown_model_is_openais_404(get):
    status, _, body = await get("/v1/models/nope")
    assert status == 404
    assert body["error"] == {
        "message": "The model `nope` does not exist or you do not have access to it.",
        "type": "invalid_request_error", "param": None, "code": "model_not_found",
    }  # fmt: skip


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/fast", "/v1/nothing"])
async def test_a_key_is_needed(get, path):
    status, headers, body = await get(path, headers={"authorization": "Bearer wrong"})
    assert (status, body["error"]["code"]) == (401, "invalid_api_key")
    assert headers["x-request-id"]


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_health_is_public(get, path):
    status, headers, body = await get(path, headers={})
    assert (status, body["status"]) == (200, "ok")
    assert headers["x-request-id"]


async def test_the_openapi_document_is_public_and_describes_the_paths(get):
    status, _, body = await get("/openapi.json", headers={})
    assert status == 200
    assert body["openapi"].startswith("3.1")
    assert {"/v1/chat/completions", "/v1/models"} <= body["paths"].keys()


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("POST", "/v1/chat/completion", 404, "Invalid URL (POST /v1/chat/completion)"),
        ("GET", "/v1", 404, "Invalid URL (GET /v1)"),
        ("POST", "/v1/chat/completions/", 404, "Invalid URL (POST /v1/chat/completions/)"),
        ("GET", "/v1/chat/completions", 405, "Not allowed to GET on /v1/chat/completions. "
         "(HINT: Perhaps you meant to use a different HTTP method?)"),
        ("POST", "/v1/models", 405, "Not allowed to POST on /v1/models. (HINT: Perhaps you meant to use a different HTTP method?)"),
    ],
)  # fmt: skip
async def test_unknown_paths_and_methods_answer_in_openais_shape(get, method, path, status, message):
    code, headers, body = await get(path, method)
    assert code == status
    assert body["error"] == {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    assert headers["x-request-id"]
    if status == 405:
        assert headers["allow"]


async def test_who_looks_with_a_browser_reads_what_this_is_and_is_sent_to_nobody_else(serve):
    async with (
        serve(Gateway(keys=[{"id": "k", "secret": "sk-key-0123456789"}])) as url,
        aiohttp.ClientSession() as session,
    ):
        async with session.get(url + "/", headers={"accept": "text/html"}) as answer:
            page = await answer.text()
            assert (answer.status, answer.content_type) == (200, "text/html")
            assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        links = re.findall(r'(?:href|src)="([^"#]+)"', page)
        assert "OpenAI-compatible gateway" in page
        assert links
        for link in links:
            async with session.get(f"{url}/{link}") as answer:
                assert answer.status == 200
        for method, path in (("POST", "/"), ("GET", "/v1/models"), ("GET", "//")):
            async with session.request(method, url + path) as answer:
                assert answer.status in (401, 404, 405)
                assert "openai.com" not in await answer.text()
