import json

import pytest

from crplugins.testing.tool_calls import calls_for


def tool(name: str, **properties: object) -> dict[str, object]:
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


WEATHER = tool("get_weather", location={"type": "string"})
ADDER = tool("my_adder_tool", a={"type": "integer"}, b={"type": "integer"})
POET = {"type": "custom", "custom": {"name": "poet"}}


def called(text: str = "Hello!", tools: object = (WEATHER, ADDER), **request: object) -> list[str]:
    messages = request.pop("messages", [{"role": "user", "content": text}])
    return [call.name for call in calls_for({"messages": messages, "tools": tools, **request}, "seed")]


def test_a_greeting_calls_no_tool_by_itself() -> None:
    assert called() == []
    assert called(tools=None) == []


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("What is the weather in Paris?", ["get_weather"]),
        ("Call my_adder_tool now", ["my_adder_tool"]),
        ("Use a tool.", ["get_weather"]),
        ("Use the adder, then tell me about the weather", ["get_weather", "my_adder_tool"]),
    ],
)
def test_a_question_that_shares_a_word_with_a_tool_calls_it(text: str, names: list[str]) -> None:
    assert called(text) == names


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("none", []),
        ("required", ["get_weather"]),
        ({"type": "function", "function": {"name": "my_adder_tool"}}, ["my_adder_tool"]),
        ({"type": "custom", "custom": {"name": "poet"}}, ["poet"]),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [ADDER]}}, []),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [ADDER]}}, ["my_adder_tool"]),
    ],
)
def test_tool_choice_decides(choice: object, names: list[str]) -> None:
    assert called(tools=[WEATHER, ADDER, POET], tool_choice=choice) == names


def test_one_call_at_most_without_parallel_tool_calls() -> None:
    text = "Call get_weather and my_adder_tool"
    assert called(text) == ["get_weather", "my_adder_tool"]
    assert called(text, parallel_tool_calls=False) == ["get_weather"]


def test_a_tool_result_is_answered_in_words_unless_a_call_is_forced() -> None:
    history = [
        {"role": "user", "content": "What is the weather?"},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "tool", "tool_call_id": "x", "content": "sunny"},
    ]
    assert called(messages=history) == []
    assert called(messages=history, tool_choice="required") == ["get_weather"]


def test_arguments_fill_the_schema_from_the_text() -> None:
    (call,) = calls_for(
        {"messages": [{"role": "user", "content": "my_adder_tool of 3 and 4"}], "tools": [ADDER]}, "seed"
    )
    assert json.loads(call.arguments) == {"a": 3, "b": 4}
    assert call.id.startswith("call_")


def test_a_tool_without_parameters_gets_an_empty_object() -> None:
    bare = {"type": "function", "function": {"name": "ping"}}
    (call,) = calls_for({"messages": [{"role": "user", "content": "ping"}], "tools": [bare]}, "seed")
    assert call.arguments == "{}"


def test_ids_are_the_same_for_the_same_seed_and_differ_within_an_answer() -> None:
    request = {"messages": [{"role": "user", "content": "get_weather my_adder_tool"}], "tools": [WEATHER, ADDER]}
    first, second = calls_for(request, "seed")
    assert first.id != second.id
    assert calls_for(request, "seed") == (first, second)
    assert calls_for(request, "other")[0].id != first.id
