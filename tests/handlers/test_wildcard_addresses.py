"""A client that completes a wildcard names a model, and never an address that the gateway then asks."""

import json
from typing import Any

import pytest

from crplugins.testing import FakeProvider
from tests.gateway_setup import HELLO, Behind

NAMES = [
    "http://{host}/v1", "HTTPS://{host}/v1", "//{host}/v1", "../../{host}", "a/../../b?key=", "x?api_base=http://{host}",
    "x#{host}", "x%2f..%2f..%2fv1", "x@{host}/v1", "x\\..\\y", "x\nhost: {host}", "x\u2028y", "\uff0e\uff0e/\uff0e\uff0e/x",
    "x" * 5000, "[::1]:80/x", "",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("handler", "prefix"),
    [("direct", "openai"), ("litellm", "openai"), ("litellm", "oobabooga"), ("litellm", "gemini")],
)
async def test_a_wildcard_completed_to_an_address_is_an_unknown_model(
    behind: Behind, handler: str, prefix: str, name: str
) -> None:
    async with FakeProvider() as other, behind(handler=handler, prefix=prefix) as gateway:
        model = "replay-" + name.format(host=f"127.0.0.1:{other.port}")
        body: dict[str, Any] = {"model": model, "messages": HELLO}
        if not name:
            return
        answer = await gateway.post(json.dumps(body).encode())
        assert answer.status == 404
        assert json.loads(answer.body)["error"]["code"] == "model_not_found"
        assert len(answer.body) < 1000
        assert other.requests == []
        assert gateway.provider.requests == []
