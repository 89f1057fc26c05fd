"""What `additional_drop_params` takes off a request: parameters, and what a path leads to, with either handler."""

import copy
import json
from typing import Any

import pytest

from crplugins.core.body import Body
from crplugins.handlers.dropped_parameters import DroppedParameters

TOOLS: list[Any] = [
    {"type": "function", "function": {"name": "get", "strict": True, "parameters": {"type": "object"}}},
    {"type": "function", "function": {"name": "put", "parameters": {"type": "object"}}},
]
ASKED: dict[str, Any] = {"model": "m", "seed": 7, "metadata": {"a": "1", "b": "2"}, "tools": TOOLS}


def left(*given: Any) -> dict[str, Any]:
    body = Body(json.dumps(ASKED).encode())
    DroppedParameters([*given]).take_from(body)
    return {name: body.get(name) for name in body}


def test_a_name_a_member_each_of_an_array_and_one_of_it_are_taken_off() -> None:
    lax = copy.deepcopy(TOOLS)
    del lax[0]["function"]["strict"]
    assert left("seed", "absent") == {name: value for name, value in ASKED.items() if name != "seed"}
    assert left("metadata.a")["metadata"] == {"b": "2"}
    assert left("tools[*].function.strict")["tools"] == lax
    assert left("tools[0].function.strict", "tools[1]['type']")["tools"] == [lax[0], {"function": TOOLS[1]["function"]}]
    assert left("tools[1]")["tools"] == TOOLS[:1]
    assert left("tools[*]")["tools"] == []


@pytest.mark.parametrize(
    "path", ["tools[*].strict", "tools[7].type", "tools.type", "metadata[*].a", "seed.a", "metadata.a.b", "none[*].a", "..", ""]
)  # fmt: skip
def test_a_path_that_leads_nowhere_takes_nothing_off(path: str) -> None:
    assert left(path) == ASKED


@pytest.mark.parametrize("handler", ["direct", "litellm"])
async def test_both_handlers_take_off_the_same(behind: Any, handler: str) -> None:
    dropped = ["seed", "tools[*].function.strict", ["tools"], None]
    async with behind(handler=handler, additional_drop_params=dropped) as gateway:
        assert (await gateway.post(seed=7, tools=TOOLS)).status == 200
        sent = gateway.provider.requests[0].json
    assert "seed" not in sent
    assert ["strict" in tool["function"] for tool in sent["tools"]] == [False, False]


@pytest.mark.parametrize("handler", ["direct", "litellm"])
async def test_one_name_needs_no_list(behind: Any, handler: str) -> None:
    async with behind(handler=handler, additional_drop_params="seed") as gateway:
        await gateway.post(seed=7, top_p=0.5)
        sent = gateway.provider.requests[0].json
    assert ("seed" in sent, sent["top_p"]) == (False, 0.5)


@pytest.mark.parametrize("handler", ["direct", "litellm"])
async def test_headers_of_the_configuration_are_texts_and_one_without_a_value_is_none(
    behind: Any, handler: str
) -> None:
    given = {"x-flag": True, "x-number": 5, "x-nothing": None}
    async with behind(handler=handler, extra_headers=given) as gateway:
        assert (await gateway.post()).status == 200
        sent = gateway.provider.requests[0].headers
    assert (sent["x-flag"], sent["x-number"], "x-nothing" in sent) == ("true", "5", False)
