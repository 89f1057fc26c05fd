"""Tools that a provider's models know without a schema, and that the client runs: a shell, an editor, patches."""

import json
from typing import Any

import pytest
from openai.types.responses import Response

from crplugins.core.dialects import MESSAGES, RESPONSES, Dialect
from crplugins.core.errors import GatewayError
from crplugins.handlers.protocols import Target
from crplugins.handlers.translation.translated import TRANSLATIONS

BASH = {"type": "bash_20250124", "name": "bash"}
EDITOR = {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool", "max_characters": 10_000}
MEMORY = {"type": "memory_20250818", "name": "memory"}
SCREEN = {"type": "computer_20250124", "name": "computer", "display_width_px": 1024, "display_height_px": 768}
GET = {"name": "get", "input_schema": {"type": "object", "properties": {}}}
PUT = {"name": "put", "input_schema": {"type": "object", "properties": {}}}
SHELL: dict[str, Any] = {"type": "shell"}
PATCH = {"type": "apply_patch"}
SEARCH = {"type": "tool_search", "execution": "client", "description": "Finds", "parameters": {"type": "object"}}


def asked(dialect: Dialect, **fields: Any) -> dict[str, Any]:
    said = {"messages": [{"role": "user", "content": "Hi"}]} if dialect is MESSAGES else {"input": "Hi"}
    return TRANSLATIONS[dialect].request({"model": "m", **said, **fields}, Target())


def offered(request: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {tool["function"]["name"]: tool["function"] for tool in request.get("tools", [])}


def answer(name: str, arguments: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps(arguments)}
    message = {"content": None, "tool_calls": [{"id": "call_1", "type": "function", "function": function}]}
    return {"model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}


def called(dialect: Dialect, name: str, arguments: Any, **fields: Any) -> dict[str, Any]:
    """What the client reads of one call: the block, or the item."""
    document = json.loads(TRANSLATIONS[dialect].writer({"model": "m", **fields}).document(answer(name, arguments)))
    if dialect is RESPONSES:
        Response.model_validate(document, strict=False)
    (said,) = document["content"] if dialect is MESSAGES else document["output"]
    return {key: value for key, value in said.items() if key != "id" or dialect is MESSAGES}


def streamed(name: str, arguments: Any, **fields: Any) -> list[dict[str, Any]]:
    chunk = answer(name, arguments)
    chunk["choices"][0]["delta"] = chunk["choices"][0].pop("message")
    writer = TRANSLATIONS[RESPONSES].writer({"model": "m", **fields})
    return [json.loads(event.data or b"") for event in [*writer.events(chunk), *writer.end()]]


def test_tools_that_claude_knows_by_their_version_are_functions_with_its_parameters():
    functions = offered(asked(MESSAGES, tools=[BASH, EDITOR, MEMORY, SCREEN, GET]))
    assert [*functions] == ["bash", "str_replace_based_edit_tool", "memory", "computer", "get"]
    assert {*functions["bash"]["parameters"]["properties"]} == {"command", "restart"}
    editor = functions["str_replace_based_edit_tool"]["parameters"]["properties"]
    assert editor["command"]["enum"] == ["view", "create", "str_replace", "insert"]
    assert "insert_text" in editor
    assert "rename" in functions["memory"]["parameters"]["properties"]["command"]["enum"]
    assert "1024 x 768 pixels" in functions["computer"]["description"]
    first = offered(asked(MESSAGES, tools=[{**EDITOR, "type": "text_editor_20250124"}]))[EDITOR["name"]]
    assert "undo_edit" in first["parameters"]["properties"]["command"]["enum"]
    assert "insert_text" not in first["parameters"]["properties"]


def test_one_of_them_can_be_demanded_and_what_runs_at_the_provider_cannot():
    choice = asked(MESSAGES, tools=[BASH], tool_choice={"type": "tool", "name": "bash"})["tool_choice"]
    assert choice == {"type": "function", "function": {"name": "bash"}}
    assert asked(MESSAGES, tools=[BASH], tool_choice={"type": "any"})["tool_choice"] == "required"
    search = {"type": "web_search_20250305", "name": "web_search"}
    with pytest.raises(GatewayError, match="web_search_20250305"):
        asked(MESSAGES, tools=[search, BASH], tool_choice={"type": "tool", "name": "web_search"})


def test_their_calls_are_told_as_claude_tells_them():
    said = called(MESSAGES, "bash", {"command": "ls"}, tools=[BASH])
    assert (said["type"], said["name"], said["input"]) == ("tool_use", "bash", {"command": "ls"})


def change(kind: str, name: str) -> dict[str, Any]:
    return {"role": "system", "content": [{"type": kind, "tool": {"type": "tool_reference", "name": name}}]}


def test_tools_that_the_conversation_adds_and_takes_away_are_those_of_its_end():
    ask = {"role": "user", "content": "Hi"}
    defined = {"type": "tool_definition", "definition": PUT}
    adds = {"role": "system", "content": [{"type": "tool_addition", "tool": defined}, {"type": "text", "text": "New"}]}
    request = asked(MESSAGES, tools=[GET, BASH], messages=[ask, change("tool_removal", "get"), adds])
    assert [*offered(request)] == ["bash", "put"]
    assert [text for text in json.dumps(request["messages"]).split('"') if "reminder" in text] == [
        "\\n\\n<system-reminder>\\nNew\\n</system-reminder>"
    ]
    again = [ask, change("tool_removal", "get"), change("tool_addition", "get")]
    assert [*offered(asked(MESSAGES, tools=[GET], messages=again))] == ["get"]


def test_a_block_of_the_system_that_is_no_text_is_refused_and_not_left_out():
    said = {"role": "system", "content": [{"type": "image", "source": {"type": "url", "url": "https://x.example/a"}}]}
    with pytest.raises(GatewayError) as refused:
        asked(MESSAGES, messages=[{"role": "user", "content": "Hi"}, said])
    assert refused.value.error.param == "messages[1].content[0]"


@pytest.mark.parametrize(
    ("tool", "arguments", "item"),
    [
        (
            SHELL,
            {"commands": ["ls", "pwd"], "timeout_ms": 5},
            {
                "type": "shell_call",
                "action": {"commands": ["ls", "pwd"], "timeout_ms": 5, "max_output_length": None},
                "environment": {"type": "local"},
            },
        ),
        (
            {"type": "local_shell"},
            {"command": ["ls", "-l"], "working_directory": "/tmp"},
            {
                "type": "local_shell_call",
                "action": {
                    "type": "exec",
                    "command": ["ls", "-l"],
                    "env": {},
                    "timeout_ms": None,
                    "user": None,
                    "working_directory": "/tmp",
                },
            },
        ),
        (
            PATCH,
            {"type": "update_file", "path": "a.py", "diff": "@@\n-a\n+b"},
            {
                "type": "apply_patch_call",
                "operation": {"type": "update_file", "path": "a.py", "diff": "@@\n-a\n+b"},
            },
        ),
        (
            PATCH,
            {"type": "delete_file", "path": "a.py"},
            {"type": "apply_patch_call", "operation": {"type": "delete_file", "path": "a.py"}},
        ),
        (
            SEARCH,
            {"query": "mail"},
            {"type": "tool_search_call", "arguments": {"query": "mail"}, "execution": "client"},
        ),
    ],
)
def test_tools_that_openais_models_know_by_their_type_are_functions_and_their_calls_the_items_that_clients_look_for(
    tool: dict[str, Any], arguments: dict[str, Any], item: dict[str, Any]
):
    kind = tool["type"]
    assert [*offered(asked(RESPONSES, tools=[tool]))] == [kind]
    assert called(RESPONSES, kind, arguments, tools=[tool]) == {"status": "completed", "call_id": "call_1", **item}
    events = streamed(kind, arguments, tools=[tool])
    assert [event["type"] for event in events if "function_call_arguments" in event["type"]] == []
    (done,) = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert {key: value for key, value in done.items() if key != "id"} == {
        "status": "completed",
        "call_id": "call_1",
        **item,
    }
    assert done == events[-1]["response"]["output"][0]


@pytest.mark.parametrize(
    "arguments", [{}, {"commands": "ls"}, {"commands": [1, None], "timeout_ms": "soon"}, {"commands": None}]
)
def test_a_call_with_arguments_that_make_no_sense_is_an_item_that_clients_can_read(arguments: dict[str, Any]):
    assert called(RESPONSES, "shell", arguments, tools=[SHELL])["type"] == "shell_call"


def test_what_runs_at_openai_is_no_function():
    hosted = [{"type": "shell", "environment": {"type": "container_auto"}}, {"type": "tool_search"}]
    assert "tools" not in asked(RESPONSES, tools=hosted)


def test_one_of_them_can_be_demanded_by_its_type_and_allowed_by_it():
    request = asked(RESPONSES, tools=[SHELL, PATCH], tool_choice={"type": "apply_patch"})
    assert request["tool_choice"] == {"type": "function", "function": {"name": "apply_patch"}}
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "shell"}]}
    request = asked(RESPONSES, tools=[SHELL, PATCH], tool_choice=allowed)
    assert (request["tool_choice"], [*offered(request)]) == ("required", ["shell"])


def test_calls_and_results_of_earlier_turns_are_calls_and_results():
    local: dict[str, Any] = {"type": "local_shell_call", "id": "lsh_1", "call_id": "c3", "status": "completed"}
    local["action"] = {"type": "exec", "command": ["ls"], "env": {}}
    said = asked(
        RESPONSES,
        input=[
            {"role": "user", "content": "Hi"},
            {"type": "shell_call", "call_id": "c1", "action": {"commands": ["ls"], "timeout_ms": None}},
            {"type": "apply_patch_call", "call_id": "c2", "operation": {"type": "delete_file", "path": "a"}},
            local,
            {"type": "shell_call_output", "call_id": "c1", "output": [{"stdout": "a", "stderr": ""}]},
            {"type": "apply_patch_call_output", "call_id": "c2", "status": "failed"},
            {"type": "local_shell_call_output", "id": "c3", "output": "b"},
        ],
        tools=[SHELL, PATCH, {"type": "local_shell"}],
    )["messages"]
    calls = {call["id"]: (call["function"]["name"], json.loads(call["function"]["arguments"]))
             for call in said[1]["tool_calls"]}  # fmt: skip
    assert calls == {
        "c1": ("shell", {"commands": ["ls"]}),
        "c2": ("apply_patch", {"type": "delete_file", "path": "a"}),
        "c3": ("local_shell", {"command": ["ls"], "env": {}}),
    }
    assert [(each["tool_call_id"], each["content"]) for each in said[2:]] == [
        ("c1", '[{"stdout":"a","stderr":""}]'),
        ("c2", "failed"),
        ("c3", "b"),
    ]


def test_what_the_clients_search_has_found_is_offered_from_then_on():
    mail = {"type": "namespace", "name": "mcp__mail", "tools": [{"type": "function", "name": "send"}]}
    request = asked(
        RESPONSES,
        input=[
            {"role": "user", "content": "Hi"},
            {"type": "tool_search_call", "call_id": "c1", "execution": "client", "arguments": {"query": "mail"}},
            {"type": "tool_search_output", "call_id": "c1", "execution": "client", "tools": [mail]},
            {"type": "additional_tools", "role": "developer", "tools": [{"type": "function", "name": "late"}]},
        ],
        tools=[SEARCH],
    )
    assert [*offered(request)] == ["tool_search", "mcp__mail__send", "late"]
    assert request["messages"][-1]["content"] == "These tools can be called now: mcp__mail__send"


def test_a_search_at_openai_in_an_earlier_turn_leaves_its_tools_and_nothing_else():
    found = {"type": "tool_search_output", "execution": "server", "tools": [{"type": "function", "name": "send"}]}
    request = asked(
        RESPONSES,
        input=[
            {"role": "user", "content": "Hi"},
            {"type": "tool_search_call", "execution": "server", "arguments": {}},
            found,
        ],
    )
    assert request["messages"] == [{"role": "user", "content": "Hi"}]
    assert [*offered(request)] == ["send"]


def test_a_reference_that_leaves_out_its_type_is_refused_as_any_other():
    for reference in ({"id": "msg_1"}, {"id": "msg_1", "type": None}, {"id": "msg_1", "type": "item_reference"}):
        with pytest.raises(GatewayError) as refused:
            asked(RESPONSES, input=[{"role": "user", "content": "Hi"}, reference])
        assert (refused.value.status, refused.value.error.param) == (400, "input[1]")


def test_a_result_without_its_call_is_refused_in_the_words_of_the_protocol():
    with pytest.raises(GatewayError, match="No tool call found for function call output with call_id c9"):
        asked(RESPONSES, input=[{"type": "function_call_output", "call_id": "c9", "output": "x"}])
    result = [{"type": "tool_result", "tool_use_id": "toolu_9", "content": "x"}]
    with pytest.raises(GatewayError, match="unexpected `tool_use_id` found in `tool_result` blocks: toolu_9"):
        asked(MESSAGES, messages=[{"role": "user", "content": result}])
