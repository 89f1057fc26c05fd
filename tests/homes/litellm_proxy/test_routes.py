"""Which of the routes of LiteLLM's proxy our keys open: as a callback with `custom_auth`, and inside our entry."""

import re
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from crplugins.homes.litellm_proxy.routes import METERED, MODEL_LISTS
from tests.homes.litellm_proxy.every_route import PAGE
from tests.long import LONG
from tests.proxy_provider import EveryEndpoint
from tests.proxy_setup import Proxy, needs_proxy, running_proxy

pytestmark = [pytest.mark.slow, needs_proxy]

CLIENT, ADMIN = "sk-client-0000000001", "sk-admin-00000000002"
OURS: dict[str, Any] = {
    "keys": [{"id": "client", "secret": CLIENT}, {"id": "admin", "secret": ADMIN, "admin": True}],
    "ledger": {"url": "sqlite:///usage.db", "commit_seconds": 0},
    "server": {"unmetered_paths": ["/v1/moderations", "/model_group/info", "/v1/files/*"]},
}
BODY: Final[dict[str, Any]] = {
    "model": "fake-model", "input": "hi", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5,
}  # fmt: skip
LISTED: Final = ("/v1/moderations", "/model_group/info", "/v1/files/")


@pytest.fixture(scope="module", params=["callback", "entry"])
def proxy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    app = f"tests.homes.litellm_proxy.every_route:{request.param}"
    environ = {"LITELLM_DISABLE_LAZY_ROUTES": "1"} if LONG else {}  # its optional features: another minute of imports
    served = {name: {"model": f"openai/{name}"} for name in ("fake-model", "omni-moderation-latest")}
    served["adapted"] = {"model": "hosted_vllm/fake-model"}
    folder = tmp_path_factory.mktemp(request.param)
    with running_proxy(folder, app, ours=OURS, environ=environ, served=served) as running:
        yield running


@pytest.fixture
async def provider(proxy: Proxy) -> AsyncIterator[EveryEndpoint]:
    async with EveryEndpoint(port=proxy.provider_port) as running:
        yield running


async def send(proxy: Proxy, method: str, path: str, key: str | None = CLIENT, **body: Any) -> httpx.Response:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(timeout=60, headers=headers) as client:
        return await client.request(method, proxy.url + path, json=body or None)


async def routes_of(proxy: Proxy) -> list[dict[str, Any]]:
    async with httpx.AsyncClient(timeout=120) as client:
        found: list[dict[str, Any]] = (await client.get(f"{proxy.url}{PAGE}?{CLIENT}")).json()
    return found


def is_open(method: str, path: str) -> bool:
    template = re.sub(r":\w+}", "}", path)
    wanted = {"POST": METERED, "GET": MODEL_LISTS}.get(method, ())
    return template in wanted or any(path == each or path.startswith(each) for each in LISTED)


async def test_every_route_that_litellm_registers_is_open_by_our_list_or_closed(proxy: Proxy) -> None:
    routes = await routes_of(proxy)
    assert len(routes) > 500
    wrong = [r for r in routes if r["verdict"] != (0 if is_open(r["method"], r["path"]) else 403)]
    assert wrong == []
    registered = {re.sub(r":\w+}", "}", route["path"]) for route in routes}
    assert {*METERED, *MODEL_LISTS} - registered <= {"/v1/messages"}, "which may be optional"


async def test_a_closed_route_is_403_before_it_does_anything(proxy: Proxy, provider: EveryEndpoint) -> None:
    entry = proxy.folder.name.startswith("entry")
    closed = [
        (route["method"], re.sub(r"\{[^}]*\}", "x", route["path"]))
        for route in await routes_of(proxy)
        if not is_open(route["method"], route["path"])
        and route["method"] != "WEBSOCKET"
        and (route["asks"] or (entry and not route["path"].startswith("/health/")))  # of public pages it asks nobody
        and not route["path"].startswith(
            ("/claude_code_gateway", "/{mcp_server_name}", "/toolset")
        )  # 404, switched off
        and (route["method"], route["path"]) != ("GET", "/")  # the public documentation
        and not (entry and route["path"].endswith("/chat/completions"))  # sent to the one that is metered
    ]
    for method, path in closed if LONG else closed[::25]:
        answer = await send(proxy, method, path)
        assert answer.status_code == 403, (method, path, answer.text)
    assert provider.received == 0


MODEL_ROUTES: Final = [
    ("POST", "/v1/images/generations"), ("POST", "/v1/images/edits"), ("POST", "/v1/audio/speech"),
    ("POST", "/v1/audio/transcriptions"),
    ("POST", "/v1/rerank"), ("POST", "/v1/batches"), ("GET", "/v1/batches"), ("POST", "/v1/files"), ("POST", "/v1/ocr"),
    ("POST", "/v1/threads"), ("POST", "/v1/assistants"), ("POST", "/v1/fine_tuning/jobs"), ("POST", "/v1/videos"),
    ("POST", "/v1beta/models/fake-model:generateContent"), ("POST", "/v1/responses/compact"), ("POST", "/v1/search"),
    ("GET", "/v1/responses/resp_1"), ("DELETE", "/v1/responses/resp_1"), ("POST", "/openai_passthrough/v1/embeddings"),
]  # fmt: skip
OPERATOR_ROUTES: Final = [
    ("GET", "/health"), ("GET", "/model/info"), ("GET", "/credentials"), ("GET", "/get/config/callbacks"),
    ("POST", "/key/generate"), ("GET", "/routes"), ("POST", "/config/update"),
]  # fmt: skip
OTHER_SPELLINGS: Final = [
    ("GET", "/health%0A"), ("GET", "/%68ealth"), ("GET", "/model%2Finfo"), ("GET", "/v1/models/..%2F..%2Fcredentials"),
    ("POST", "/v1/embeddings%0A"), ("POST", "/v1/moderations%0A"), ("POST", "/V1/Images/Generations"),
    ("POST", "/queue/chat/completions%0A"), ("POST", "/v1/files/../../key/generate"), ("GET", "//health"),
]  # fmt: skip
OPTIONAL: Final = [
    ("POST", "/anthropic/v1/messages"), ("POST", "/openai/v1/embeddings"), ("POST", "/vertex_ai/v1/projects/p/x:predict"),
    ("POST", "/mcp"), ("POST", "/mcp/"), ("POST", "/a2a/agent/message/send"), ("POST", "/v1/messages/count_tokens"),
    ("POST", "/bedrock/model/m/invoke"), ("POST", "/v1/vector_stores"), ("GET", "/v1/agents"),
]  # fmt: skip
"""LiteLLM imports them with the first request to them."""


@pytest.mark.parametrize(
    ("requests", "codes"),
    [
        (MODEL_ROUTES, {"endpoint_not_metered"}),
        (OPERATOR_ROUTES, {"endpoint_for_operators"}),
        (OPTIONAL if LONG else OPTIONAL[:1], {"endpoint_not_metered", "endpoint_for_operators", None, -32000}),
    ],
    ids=["model routes", "operators' routes", "optional routes"],
)
async def test_no_key_of_a_client_opens(
    proxy: Proxy, provider: EveryEndpoint, requests: list[tuple[str, str]], codes: set[str]
) -> None:
    for method, path in requests:
        answer = await send(proxy, method, path, **(BODY if method == "POST" else {}))
        assert answer.status_code == 403, (path, answer.text)
        error = answer.json().get("error", {})  # those of Anthropic's routes and of MCP have forms of their own
        assert error.get("code") in codes, path
    assert provider.received == 0


async def test_another_spelling_opens_nothing_either(proxy: Proxy, provider: EveryEndpoint) -> None:
    for method, path in OTHER_SPELLINGS:
        answer = await send(proxy, method, path, **(BODY if method == "POST" else {}))
        assert answer.status_code in (403, 404, 405), (path, answer.text)
        assert "api_base" not in answer.text
    assert provider.received == 0


async def test_what_is_open_is_limited_and_recorded(proxy: Proxy, provider: EveryEndpoint) -> None:
    said = [{"role": "user", "content": "hi"}]
    bodies: dict[str, dict[str, Any]] = {
        "chat/completions": {"messages": said},
        "completions": {"prompt": "hi"},
        "embeddings": {"input": "hi"},
        "responses": {"input": "hi"},
        "messages": {"messages": said, "max_tokens": 5},
    }
    for route in METERED:
        body = next(body for name, body in bodies.items() if route.endswith(name))
        model = "adapted" if route.endswith("messages") else "fake-model"
        answer = await send(proxy, "POST", route.replace("{model}", model), model=model, **body)
        assert answer.status_code == 200, (route, answer.text)
        record = await proxy.record(answer.headers["x-request-id"])
        assert (record["key_id"], record["usage_source"]) == ("client", "provider"), route


async def test_websockets_are_closed_to_clients(proxy: Proxy, provider: EveryEndpoint) -> None:
    for path in ("/v1/realtime?model=fake-model", "/v1/responses?model=fake-model", "/vertex_ai/live"):
        url = proxy.url.replace("http", "ws", 1) + path
        with pytest.raises(InvalidStatus) as refused:
            async with connect(url, additional_headers={"authorization": f"Bearer {CLIENT}"}):
                pass
        assert refused.value.response.status_code == 403, path
    assert provider.received == 0


async def test_an_admins_key_and_a_listed_path_open_more(proxy: Proxy, provider: EveryEndpoint) -> None:
    settings = await send(proxy, "GET", "/model/info", ADMIN)
    assert settings.status_code == 200
    assert "api_base" in settings.text
    assert (await send(proxy, "GET", "/model_group/info")).status_code == 200
    listed = await send(proxy, "POST", "/v1/moderations", model="fake-model", input="hi")
    assert listed.status_code != 403, listed.text


@pytest.mark.parametrize("body", [{"input": "hi"}, {"input": ["a", "b"], "model": None}, {"input": "hi", "model": ""}])
@pytest.mark.parametrize("key", [CLIENT, ADMIN])
async def test_a_moderation_without_a_model_is_by_the_one_that_it_means(
    proxy: Proxy, provider: EveryEndpoint, body: dict[str, Any], key: str
) -> None:
    answer = await send(proxy, "POST", "/v1/moderations", key, **body)
    assert (answer.status_code, answer.json()["model"]) == (200, "omni-moderation-latest"), answer.text
    assert [(request.path, request.model) for request in provider.requests] == [
        ("/v1/moderations", "omni-moderation-latest")
    ]


async def test_nobody_without_a_key_makes_a_paid_call(proxy: Proxy, provider: EveryEndpoint) -> None:
    for path in ("/health", "/health?model=fake-model", "/v1/models", "/model/info"):
        assert (await send(proxy, "GET", path, None)).status_code == 401, path
    assert provider.received == 0


NEARLY: Final = [
    "/v1/chat/completions%0A", "/chat/completions%0A", "/engines/fake-model//chat/completions",
    "/engines/fake-model/%2e/chat/completions", "/engines/fake-model/x/%2e%2e/chat/completions",
    "/openai/deployments//chat/completions", "/openai/deployments/fake-model/chat/completions%0A",
]  # fmt: skip
"""What LiteLLM's router takes for a chat completion, and core.paths for another spelling of one."""


async def test_another_spelling_of_a_chat_path_is_404_for_a_key_and_401_without_one(
    proxy: Proxy, provider: EveryEndpoint
) -> None:
    for path in NEARLY:
        answer = await send(proxy, "POST", path, **BODY)
        assert (answer.status_code, "Invalid URL" in answer.text) == (404, True), (path, answer.text)
        assert (await send(proxy, "POST", path, "sk-nobody", **BODY)).status_code == 401
    assert provider.received == 0
