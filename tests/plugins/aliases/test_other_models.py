"""A key with a list of models gets no other one by naming it beside the one that it asks."""

from typing import Any

import pytest

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.core.plugin import Plugin
from crplugins.core.principal import Principal
from crplugins.plugins.aliases.plugin import ModelAliases
from crplugins.testing import drive
from tests.core.doubles import JSON, App

ANSWERS = {
    "/v1/chat/completions": b'{"choices":[{"index":0,"message":{"content":"Hi"},"finish_reason":"stop"}]}',
    "/v1/messages": b'{"type":"message","content":[],"stop_reason":"end_turn"}',
}
ADVISOR = {"type": "advisor_20260301", "name": "advisor", "model": "dear"}
PLAIN = {"name": "get", "input_schema": {"type": "object", "properties": {"model": {"type": "string"}}}}


class Login(Plugin):
    """Stands for Auth."""

    def __init__(self, models: tuple[str, ...] | None) -> None:
        self._principal = Principal("team", models=models)

    async def on_request(self, exchange: Any) -> None:
        exchange.principal = self._principal


async def status(path: str, listed: tuple[str, ...] | None, named: dict[str, Any]) -> int:
    app = App(ANSWERS[path], content_type=JSON)
    plugins = [Login(listed), ModelAliases(aliases={"other": "cheap"})]
    request = {"model": "cheap", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5, **named}
    answer = await drive(PluginMiddleware(app, plugins=plugins), path=path, body=request)
    return answer.status


NAMED = [
    ("/v1/messages", {"fallbacks": [{"model": "dear"}]}),
    ("/v1/messages", {"fallbacks": [{"model": "cheap"}, {"model": "dear"}]}),
    ("/v1/messages", {"fallbacks": [7, {"model": "dear"}]}),
    ("/v1/messages", {"tools": [PLAIN, ADVISOR]}),
    ("/v1/chat/completions", {"models": ["cheap", "dear"]}),
    ("/v1/chat/completions", {"fallbacks": ["dear"]}),
]


@pytest.mark.parametrize(("path", "named"), NAMED)
async def test_what_a_request_names_beside_its_model_is_in_the_list_as_well(path: str, named: dict[str, Any]) -> None:
    assert await status(path, ("cheap",), named) == 404
    assert await status(path, ("cheap", "d*"), named) == 200
    assert await status(path, None, named) == 200


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/v1/messages", {"fallbacks": "default"}),
        ("/v1/messages", {"fallbacks": [{"model": "other"}], "tools": [PLAIN]}),
        ("/v1/messages", {"fallbacks": None, "tools": None}),
        ("/v1/chat/completions", {"models": [], "fallbacks": [None, 3, {}]}),
        ("/v1/chat/completions", {"tools": [{"type": "function", "model": "dear"}]}),
    ],
)
async def test_what_names_no_model_or_one_of_the_list_passes(path: str, named: dict[str, Any]) -> None:
    assert await status(path, ("cheap",), named) == 200
