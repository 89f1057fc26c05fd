"""Responses that an app inside keeps, in front of which plugins stand: vLLM, and an app of one's own."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from crplugins.config import parse_config
from crplugins.homes.middlewares import AuthMiddleware
from crplugins.homes.vllm import Middleware
from tests.conftest import serving
from tests.handlers.test_responses_streams import events_in
from tests.homes.keeping_provider import KeepingProvider

KEYS = {name: f"sk-test-of-{name}-{'x' * 20}" for name in ("ann", "bob")}
LISTED = [{"id": name, "secret": secret, "limits": {"requests_per_minute": 100}} for name, secret in KEYS.items()]


def vllm(app: Any) -> Any:
    words = {"model_list": [{"model_name": "*", "litellm_params": {"model": "hosted_vllm/*"}}], "keys": LISTED}
    return Middleware(app, parse_config(words, {}))


HOMES: dict[str, Callable[[Any], Any]] = {"vllm": vllm, "own app": lambda app: AuthMiddleware(app, keys=LISTED)}


@pytest.mark.parametrize("home", HOMES)
async def test_a_response_is_its_keys_alone(home: str) -> None:
    provider = KeepingProvider(knows_nobody=True)
    async with serving(HOMES[home](provider)) as url, httpx.AsyncClient(base_url=url, timeout=60) as client:
        ann, bob = ({"authorization": f"Bearer {KEYS[name]}"} for name in ("ann", "bob"))

        async def create(headers: dict[str, str], **more: Any) -> httpx.Response:
            return await client.post("/v1/responses", headers=headers, json={"model": "m", "input": "Hello", **more})

        streamed = await create(ann, stream=True)
        assert "resp_a1" not in streamed.text
        [mine] = {event["response"]["id"] for event in events_in(streamed.content) if "response" in event}
        answer = await create(ann, previous_response_id=mine)
        assert answer.json()["previous_response_id"] == mine
        assert provider.asked[-1][3]["previous_response_id"] == "resp_a1"
        read = await client.get(f"/v1/responses/{mine}", headers=ann)
        assert read.json()["id"] == mine
        taken_up = await client.get(f"/v1/responses/{mine}?stream=true&starting_after=3", headers=ann)
        assert {each["response"]["id"] for each in events_in(taken_up.content) if "response" in each} == {mine}
        asked = len(provider.asked)
        for shown in (mine, "resp_a1"):
            headers = bob if shown == mine else ann
            for method, below in (("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")):
                refused = await client.request(method, f"/v1/responses/{shown}{below}", headers=headers)
                assert (refused.status_code, refused.json()["error"]["message"]) == (
                    404, f"Response with id '{shown}' not found.",
                )  # fmt: skip
            assert (await create(headers, previous_response_id=shown)).status_code == 400
        for path in (
            f"/V1/responses/{mine}",
            "/v1//responses/resp_a1",
            "/v1/responses/resp_a1/",
            "/v1/Responses/resp_a1",
        ):
            assert (await client.get(path, headers=ann)).status_code in (403, 404)
        assert (await client.get(f"/v1/responses/{mine}")).status_code == 401
        assert (await create(ann, background=True)).status_code == 400
        assert len(provider.asked) == asked
        deleted = await client.delete(f"/v1/responses/{mine}", headers=ann)
        assert deleted.json() == {"id": mine, "object": "response", "deleted": True}
