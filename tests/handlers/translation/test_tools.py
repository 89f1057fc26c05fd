"""The tools of clients, their names and schemas, as functions of chat completions and back."""

import json
from typing import Any

import pytest

from crplugins.core.dialects import MESSAGES, RESPONSES, Dialect
from crplugins.core.errors import GatewayError
from crplugins.handlers.protocols import Target
from crplugins.handlers.translation.tool_names import ToolNames
from crplugins.handlers.translation.translated import TRANSLATIONS

LONG = "mcp__plugin_of_a_marketplace_with_a_long_name__list_all_of_the_open_pull_requests"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
DOCS: dict[str, Any] = {
    "type": "namespace", "name": "mcp__docs", "description": "The handbook",
    "tools": [
        {"type": "function", "name": "search", "parameters": SCHEMA, "defer_loading": True},
        {"type": "custom", "name": "patch"},
    ],
}  # fmt: skip
CODE = {"type": "namespace", "name": "mcp__code__", "tools": [{"type": "function", "name": "search"}]}
SEARCH = {"type": "function", "name": "search", "parameters": SCHEMA}


def asked(dialect: Dialect, **fields: Any) -> dict[str, Any]:
    said = {"messages": [{"role": "user", "content": "Hi"}]} if dialect is MESSAGES else {"input": "Hi"}
    return TRANSLATIONS[dialect].request({"model": "m", **said, **fields}, Target())


def offered(dialect: Dialect, **fields: Any) -> list[str]:
    return [tool["function"]["name"] for tool in asked(dialect, **fields)["tools"]]


def calls(*called: tuple[str, str]) -> list[dict[str, Any]]:
    """The chunks of an answer that calls these, with these arguments."""
    pieces = [
        {"index": number, "id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": text}}
        for number, (name, text) in enumerate(called)
    ]
    return [
        *({"model": "m", "choices": [{"index": 0, "delta": {"tool_calls": [piece]}}]} for piece in pieces),
        {"model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
    ]


def told(dialect: Dialect, chunks: list[dict[str, Any]], **fields: Any) -> list[dict[str, Any]]:
    """The data of all events."""
    writer = TRANSLATIONS[dialect].writer({"model": "m", **fields})
    events = [event for chunk in chunks for event in writer.events(chunk)] + writer.end()
    return [json.loads(event.data or b"") for event in events]


def whole(dialect: Dialect, message: dict[str, Any], **fields: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    document: dict[str, Any] = json.loads(
        TRANSLATIONS[dialect].writer({"model": "m", **fields}).document({"model": "m", "choices": [choice]})
    )
    return document


def test_a_name_that_is_too_long_for_openai_is_shortened_everywhere_and_the_client_reads_its_own() -> None:
    tools = [{"name": LONG, "input_schema": SCHEMA}, {"name": LONG + "_too", "input_schema": SCHEMA}]
    called = {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": LONG, "input": {}}]}
    given = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "none"}]}
    made = asked(MESSAGES, tools=tools, tool_choice={"type": "tool", "name": LONG}, messages=[called, given])
    shown, other = [tool["function"]["name"] for tool in made["tools"]]
    assert len(shown) == len(other) == 64
    assert shown != other
    assert made["tool_choice"] == {"type": "function", "function": {"name": shown}}
    assert made["messages"][0]["tool_calls"][0]["function"]["name"] == shown
    started = [
        event for event in told(MESSAGES, calls((shown, "{}"), (other, "{}")), tools=tools) if "content_block" in event
    ]
    assert [event["content_block"]["name"] for event in started] == [LONG, LONG + "_too"]
    message = {"tool_calls": [{"id": "a", "type": "function", "function": {"name": shown, "arguments": "{}"}}]}
    assert whole(MESSAGES, message, tools=tools)["content"][0]["name"] == LONG


def test_tools_in_a_namespace_are_offered_and_called_with_it() -> None:
    tools = [DOCS, CODE, SEARCH, {"type": "web_search"}]
    assert offered(RESPONSES, tools=tools) == ["mcp__docs__search", "mcp__docs__patch", "mcp__code__search", "search"]
    events = told(
        RESPONSES,
        calls(("mcp__docs__search", "{}"), ("search", "{}"), ("mcp__docs__patch", '{"input":"x"}')),
        tools=tools,
    )
    output = events[-1]["response"]["output"]
    assert [(item["type"], item["name"], item.get("namespace")) for item in output] == [
        ("function_call", "search", "mcp__docs"), ("function_call", "search", None), ("custom_tool_call", "patch", "mcp__docs"),
    ]  # fmt: skip
    assert output[2]["input"] == "x"
    done = [event for event in events if event["type"] == "response.output_item.done"]
    assert [event["item"] for event in done] == output
    back = asked(
        RESPONSES,
        tools=tools,
        input=[
            *output,
            *({"type": "function_call_output", "call_id": item["call_id"], "output": ""} for item in output),
        ],
    )
    assert [call["function"]["name"] for call in back["messages"][0]["tool_calls"]] == [
        "mcp__docs__search", "search", "mcp__docs__patch",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("allowed", "left"),
    [
        ({"type": "function", "name": "search"}, ["search"]),
        ({"type": "namespace", "name": "mcp__docs"}, ["mcp__docs__search", "mcp__docs__patch"]),
        ({"type": "function", "name": "search", "namespace": "mcp__code__"}, ["mcp__code__search"]),
    ],
)
def test_a_choice_among_tools_leaves_those_that_it_names(allowed: dict[str, Any], left: list[str]) -> None:
    choice = {"type": "allowed_tools", "mode": "auto", "tools": [allowed]}
    assert offered(RESPONSES, tools=[DOCS, CODE, SEARCH], tool_choice=choice) == left


def test_two_tools_never_have_one_name() -> None:
    names = ToolNames([("a", "b"), ("", "a__b"), ("a__", "b")])
    shown = [names.shown("b", "a"), names.shown("a__b"), names.shown("b", "a__")]
    assert len({*shown}) == 3
    assert shown[1] == "a__b"
    assert [names.meant(each) for each in shown] == [("a", "b"), ("", "a__b"), ("a__", "b")]


@pytest.mark.parametrize("schema", [{"type": "object"}, {"type": "object", "properties": {}}, {}])
def test_a_tool_without_parameters_has_the_schema_that_openai_takes(schema: dict[str, Any]) -> None:
    nothing = {"type": "object", "properties": {}}
    [tool] = asked(MESSAGES, tools=[{"name": "now", "input_schema": schema}])["tools"]
    assert tool["function"]["parameters"] == nothing
    for parameters in (schema, None):
        [tool] = asked(RESPONSES, tools=[{"type": "function", "name": "now", "parameters": parameters}])["tools"]
        assert tool["function"]["parameters"] == nothing


def test_what_a_search_for_tools_has_found_is_told() -> None:
    found = {"type": "tool_reference", "tool_name": "WebFetch"}
    said = [
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "ToolSearch", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": [found]}]},
    ]
    made = asked(MESSAGES, messages=said, tools=[{"name": "WebFetch", "input_schema": SCHEMA, "defer_loading": True}])
    assert "WebFetch" in made["messages"][1]["content"]
    assert [tool["function"]["name"] for tool in made["tools"]] == ["WebFetch"]


def test_what_a_clients_own_search_has_found_is_told_in_words() -> None:
    found = {
        "type": "search_result", "source": "https://tides.example/lisbon", "title": "Tides",
        "content": [{"type": "text", "text": "High at 9."}, {"type": "text", "text": "Low at 3."}],
        "citations": {"enabled": True},
    }  # fmt: skip
    bare = {"type": "search_result", "content": [{"type": "text", "text": "None at noon."}]}
    said = [
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "find", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": [found, bare]}]},
    ]
    made = asked(MESSAGES, messages=said)
    told = "Tides\nhttps://tides.example/lisbon\nHigh at 9.\nLow at 3.\n\nNone at noon.\n\n"
    assert made["messages"][1] == {"role": "tool", "tool_call_id": "toolu_1", "content": told}


@pytest.mark.parametrize(
    ("dialect", "fields"),
    [
        (MESSAGES, {"tools": [{"type": "web_search_20250305", "name": "web_search"}], "tool_choice": {"type": "any"}}),
        (RESPONSES, {"tools": [{"type": "web_search"}], "tool_choice": "required"}),
    ],
)
def test_a_call_that_must_be_made_and_cannot_is_refused(dialect: Dialect, fields: dict[str, Any]) -> None:
    with pytest.raises(GatewayError) as caught:
        asked(dialect, **fields)
    assert (caught.value.status, caught.value.error.param) == (400, "tool_choice")


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([{"index": 0, "id": ""}, {"index": 0, "id": ""}], id="one-index"),
        pytest.param([{"index": 0, "id": "a"}, {"index": 0, "id": "b"}], id="one-index-two-ids"),
        pytest.param([{"id": "a"}, {"id": "b"}], id="no-index"),
        pytest.param([{}, {}], id="nothing"),
    ],
)
@pytest.mark.parametrize("dialect", [MESSAGES, RESPONSES])
def test_parallel_calls_that_a_provider_does_not_number_are_told_apart(
    dialect: Dialect, pieces: list[dict[str, Any]]
) -> None:
    chunks = calls(("look", '{"n":1}'), ("look", '{"n":2}'))
    for chunk, numbered in zip(chunks, pieces, strict=False):
        [piece] = chunk["choices"][0]["delta"]["tool_calls"]
        chunk["choices"][0]["delta"]["tool_calls"] = [{"function": piece["function"], **numbered}]
    events = told(dialect, chunks)
    if dialect is RESPONSES:
        made = [(item["call_id"], item["arguments"]) for item in events[-1]["response"]["output"]]
    else:
        ids = [event["content_block"]["id"] for event in events if "content_block" in event]
        texts = [event["delta"]["partial_json"] for event in events if event["type"] == "content_block_delta"]
        made = [*zip(ids, texts, strict=True)]
    assert [arguments for _, arguments in made] == ['{"n":1}', '{"n":2}']
    assert all(each for each, _ in made)
    assert made[0][0] != made[1][0]
