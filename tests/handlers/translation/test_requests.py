"""What is asked in Messages, Responses and completions, as chat completions ask it."""

import subprocess
import sys
from typing import Any

import pytest

from crplugins.core.dialects import COMPLETIONS, MESSAGES, RESPONSES, Dialect
from crplugins.core.errors import GatewayError
from crplugins.handlers.protocols import Target
from crplugins.handlers.translation.responses_request import sealed
from crplugins.handlers.translation.translated import TRANSLATIONS

ANY, OPENAI, CLAUDE = Target(), Target(is_openai=True, reasons=True), Target(is_claude=True, reasons=True)
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
USER = [{"role": "user", "content": "Hi"}]
SIGNED = {"type": "thinking", "thinking": "Hm", "signature": "sig"}


def asked(dialect: Dialect, target: Target = ANY, **fields: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"model": "m"}
    if dialect is MESSAGES:
        given |= {"max_tokens": 50, "messages": USER}
    elif dialect is RESPONSES:
        given |= {"input": "Hi"}
    else:
        given |= {"prompt": "Hi"}
    return TRANSLATIONS[dialect].request(given | fields, target)


def refused(dialect: Dialect, target: Target = ANY, **fields: Any) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        asked(dialect, target, **fields)
    assert caught.value.status == 400
    return caught.value


def test_the_plainest_request_of_each_protocol() -> None:
    assert asked(MESSAGES) == {"model": "m", "messages": USER, "max_tokens": 50}
    assert asked(RESPONSES) == {"model": "m", "messages": USER}
    assert asked(COMPLETIONS) == {"model": "m", "messages": USER}


def test_nothing_of_litellm_is_loaded_for_it() -> None:
    code = "import crplugins.handlers.translation.translated, sys; sys.exit('litellm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


@pytest.mark.parametrize("dialect", [MESSAGES, RESPONSES])
def test_a_stream_is_asked_for_with_its_usage(dialect: Dialect) -> None:
    made = asked(dialect, stream=True)
    assert (made["stream"], made["stream_options"]) == (True, {"include_usage": True})


def test_completions_are_told_the_usage_that_they_ask_for() -> None:
    assert "stream_options" not in asked(COMPLETIONS, stream=True)
    told = asked(COMPLETIONS, stream=True, stream_options={"include_usage": True})
    assert told["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize(
    ("dialect", "name"), [(MESSAGES, "max_tokens"), (RESPONSES, "max_output_tokens"), (COMPLETIONS, "max_tokens")]
)
def test_the_bound_of_an_answer_has_the_name_that_the_upstream_reads(dialect: Dialect, name: str) -> None:
    assert asked(dialect, ANY, **{name: 7})["max_tokens"] == 7
    made = asked(dialect, OPENAI, **{name: 7})
    assert (made["max_completion_tokens"], "max_tokens" in made) == (7, False)


def test_messages_speaks_of_a_system_of_blocks_pictures_and_files() -> None:
    content = [
        {"type": "text", "text": "Look", "cache_control": {"type": "ephemeral"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
        {"type": "image", "source": {"type": "url", "url": "https://pictures.example/a.png"}},
        {
            "type": "document",
            "title": "a.pdf",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "BB"},
        },
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}},
    ]
    system = [{"type": "text", "text": "Be", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "brief"}]
    made = asked(MESSAGES, system=system, messages=[{"role": "user", "content": content}])["messages"]
    assert made == [
        {"role": "system", "content": [{"type": "text", "text": "Be"}, {"type": "text", "text": "brief"}]},
        {"role": "user", "content": [
            {"type": "text", "text": "Look"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            {"type": "image_url", "image_url": {"url": "https://pictures.example/a.png"}},
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,BB"}},
            {"type": "text", "text": "words"},
        ]},
    ]  # fmt: skip
    marked = asked(MESSAGES, CLAUDE, system=system)["messages"][0]["content"][0]
    assert marked == {"type": "text", "text": "Be", "cache_control": {"type": "ephemeral"}}


def test_a_loop_of_tools_in_messages_is_one_in_chat() -> None:
    loop = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": [
            SIGNED,
            {"type": "text", "text": "I ask."},
            {"type": "tool_use", "id": "toolu_1", "name": "get", "input": {"city": "Oslo"}},
            {"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "toolu_1", "content": [
                {"type": "text", "text": "Rain, "},
                {"type": "text", "text": "5 C"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA"}},
            ]},
            {"type": "text", "text": "And then?"},
            {"type": "tool_result", "tool_use_id": "toolu_2", "content": "noon", "is_error": True},
        ]},
    ]  # fmt: skip
    made = asked(MESSAGES, messages=loop)["messages"]
    said = made[1]
    assert [call["id"] for call in said["tool_calls"]] == ["toolu_1", "toolu_2"]
    assert said["tool_calls"][0]["function"] == {"name": "get", "arguments": '{"city":"Oslo"}'}
    assert said["tool_calls"][1]["function"]["arguments"] == "{}"
    assert (said["content"], said["reasoning_content"]) == ("I ask.", "Hm")
    assert made[2:4] == [
        {"role": "tool", "tool_call_id": "toolu_1", "content": "Rain, 5 C"},
        {"role": "tool", "tool_call_id": "toolu_2", "content": "noon"},
    ]
    assert [part["type"] for part in made[4]["content"]] == ["text", "image_url"]
    assert asked(MESSAGES, CLAUDE, messages=loop)["messages"][1]["thinking_blocks"] == [SIGNED]
    openai = asked(MESSAGES, OPENAI, messages=loop)["messages"][1]
    assert not {"thinking_blocks", "reasoning_content", "reasoning"} & openai.keys()
    assert "reasoning" not in said  # a member too many, which some servers refuse
    of_vllm = asked(MESSAGES, Target(is_vllm=True), messages=loop)["messages"][1]
    assert (of_vllm["reasoning_content"], of_vllm["reasoning"]) == ("Hm", "Hm")


@pytest.mark.parametrize(
    ("choice", "made"),
    [
        ({"type": "auto"}, "auto"),
        ({"type": "any", "disable_parallel_tool_use": True}, "required"),
        ({"type": "none"}, "none"),
        ({"type": "tool", "name": "get"}, {"type": "function", "function": {"name": "get"}}),
    ],
)
def test_tools_of_messages_and_their_choice(choice: dict[str, Any], made: Any) -> None:
    tools = [
        {"name": "get", "description": "Gets", "input_schema": SCHEMA},
        {"type": "web_search_20250305", "name": "web_search"},
    ]
    told = asked(MESSAGES, tools=tools, tool_choice=choice)
    [tool] = told["tools"]
    assert tool == {"type": "function", "function": {"name": "get", "description": "Gets", "parameters": SCHEMA}}
    assert told["tool_choice"] == made
    assert told.get("parallel_tool_calls") is (False if choice.get("disable_parallel_tool_use") else None)


def test_a_tool_that_runs_at_the_provider_is_left_out_and_refused_where_it_must_be_called() -> None:
    search = {"type": "web_search_20250305", "name": "web_search"}
    assert "tools" not in asked(MESSAGES, tools=[search])
    assert (
        refused(MESSAGES, tools=[search], tool_choice={"type": "tool", "name": "web_search"}).error.param
        == "tool_choice"
    )
    assert "tools" not in asked(RESPONSES, tools=[{"type": "web_search"}])
    assert (
        refused(RESPONSES, tools=[{"type": "web_search"}], tool_choice={"type": "web_search"}).error.param
        == "tool_choice"
    )


@pytest.mark.parametrize(
    ("fields", "effort"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "low"),
        ({"thinking": {"type": "enabled", "budget_tokens": 10_000}}, "medium"),
        ({"thinking": {"type": "enabled", "budget_tokens": 32_000}}, "high"),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}, "high"),
        ({"thinking": {"type": "disabled"}}, None),
        ({}, None),
    ],
)
def test_how_much_to_think_is_told_to_models_that_can_be_told(fields: dict[str, Any], effort: str | None) -> None:
    assert asked(MESSAGES, OPENAI, **fields).get("reasoning_effort") == effort
    assert "reasoning_effort" not in asked(MESSAGES, ANY, **fields)
    told = asked(MESSAGES, CLAUDE, **fields)
    assert (told.get("thinking"), told.get("output_config")) == (fields.get("thinking"), fields.get("output_config"))


def test_the_rest_of_a_request_in_messages() -> None:
    schema = {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}
    more = {"temperature": 0.5, "top_p": 0.9, "top_k": 4, "stop_sequences": ["END"], "metadata": {"user_id": "u"}}
    made = asked(MESSAGES, **schema, **more, service_tier="auto", context_management={"edits": []})
    assert made["response_format"] == {
        "type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True},
    }  # fmt: skip
    rest = {key: made[key] for key in made.keys() - {"model", "messages", "max_tokens", "response_format"}}
    assert rest == {"temperature": 0.5, "top_p": 0.9, "top_k": 4, "stop": ["END"], "user": "u"}
    assert "top_k" not in asked(MESSAGES, OPENAI, top_k=4)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": 7}, "messages"),
        ({"messages": ["Hi"]}, "messages"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "search_result"}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "assistant", "content": [{"type": "container_upload"}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "file"}}]}]}, "messages[0].content[0]"),
        ({"mcp_servers": [{"url": "x"}]}, "mcp_servers"),
        ({"container": "c"}, "container"),
        ({"compaction": {"type": "enabled"}}, "compaction"),
        ({"thread": {"type": "continue", "previous_message_id": "msg_1"}}, "thread"),
        ({"tools": [{"name": "a"}]}, "tools[0].input_schema"),
        ({"tools": "all"}, "tools"),
    ],
)  # fmt: skip
def test_what_messages_ask_and_nobody_can_answer_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    assert refused(MESSAGES, **fields).error.param == param


def test_a_conversation_in_responses_is_one_in_chat() -> None:
    items = [
        {"role": "developer", "content": "Be brief"},
        {"type": "message", "role": "user", "content": [
            {"type": "input_text", "text": "Look"},
            {"type": "input_image", "image_url": "https://pictures.example/a.png", "detail": "low"},
            {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,BB"},
        ]},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I ask."}]},
        {"type": "function_call", "call_id": "call_1", "name": "get", "arguments": '{"city": "Oslo"}'},
        {"type": "custom_tool_call", "call_id": "call_2", "name": "patch", "input": "*** Begin"},
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        {"type": "function_call_output", "call_id": "call_1", "output": [{"type": "input_text", "text": "Rain"}]},
        {"type": "custom_tool_call_output", "call_id": "call_2", "output": "done"},
        {"role": "user", "content": "And?"},
    ]  # fmt: skip
    made = asked(RESPONSES, instructions="Help", input=items)["messages"]
    assert [message["role"] for message in made] == ["system", "user", "assistant", "tool", "tool", "user"]
    assert [part["text"] for part in made[0]["content"]] == [
        "Help",
        "\n\nBe brief",
    ]  # a second one many templates refuse
    assert made[1]["content"] == [
        {"type": "text", "text": "Look"},
        {"type": "image_url", "image_url": {"url": "https://pictures.example/a.png", "detail": "low"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,BB", "filename": "a.pdf"}},
    ]
    said = made[2]
    assert (said["content"], said["reasoning_content"]) == ("I ask.", "Hm")
    assert [call["function"]["arguments"] for call in said["tool_calls"]] == [
        '{"city": "Oslo"}',
        '{"input":"*** Begin"}',
    ]
    assert [message["content"] for message in made[3:]] == ["Rain", "done", "And?"]
    assert asked(RESPONSES, OPENAI, input=items)["messages"][0]["role"] == "developer"


def test_signed_thoughts_come_back_to_who_has_signed_them_and_to_nobody_else() -> None:
    item = {
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": "Hm"}],
        "encrypted_content": sealed([SIGNED]),
    }
    said = {"role": "assistant", "content": "Yes."}
    back = asked(RESPONSES, CLAUDE, input=[item, said])["messages"][0]
    assert (back["thinking_blocks"], back["content"]) == ([SIGNED], "Yes.")
    assert asked(RESPONSES, OPENAI, input=[item, said])["messages"][0] == said
    for broken in ("crplugins:%%%", "crplugins:" + "A" * 9, "of somebody else"):
        spoilt = asked(RESPONSES, CLAUDE, input=[{**item, "encrypted_content": broken}, said])["messages"][0]
        assert "thinking_blocks" not in spoilt


def test_tools_of_responses_and_their_choice() -> None:
    tools = [
        {"type": "function", "name": "get", "description": "Gets", "parameters": SCHEMA, "strict": True},
        {
            "type": "custom",
            "name": "patch",
            "description": "Edits",
            "format": {"type": "grammar", "definition": "start: x"},
        },
        {"type": "web_search"},
    ]
    made = asked(RESPONSES, tools=tools, tool_choice={"type": "custom", "name": "patch"}, parallel_tool_calls=False)
    get, patch = made["tools"]
    assert get["function"] == {"name": "get", "description": "Gets", "parameters": SCHEMA, "strict": True}
    assert patch["function"]["parameters"]["required"] == ["input"]
    assert "start: x" in patch["function"]["parameters"]["properties"]["input"]["description"]
    assert made["tool_choice"] == {"type": "function", "function": {"name": "patch"}}
    assert made["parallel_tool_calls"] is False
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "get"}]}
    made = asked(RESPONSES, tools=tools, tool_choice=allowed)
    assert ([tool["function"]["name"] for tool in made["tools"]], made["tool_choice"]) == (["get"], "required")


def test_the_rest_of_a_request_in_responses() -> None:
    form = {"type": "json_schema", "name": "city", "schema": SCHEMA, "strict": True}
    fields = {
        "text": {"format": form, "verbosity": "low"}, "reasoning": {"effort": "high"}, "temperature": 0.5,
        "prompt_cache_key": "k", "service_tier": "flex", "metadata": {"a": "b"}, "store": True, "user": "u",
    }  # fmt: skip
    made = asked(RESPONSES, OPENAI, **fields)
    assert made["response_format"] == {
        "type": "json_schema", "json_schema": {"name": "city", "schema": SCHEMA, "strict": True},
    }  # fmt: skip
    assert {key: made[key] for key in made.keys() - {"model", "messages", "response_format"}} == {
        "verbosity": "low", "reasoning_effort": "high", "temperature": 0.5, "prompt_cache_key": "k",
        "service_tier": "flex", "user": "u",
    }  # fmt: skip
    assert asked(RESPONSES, ANY, **fields).keys() == {"model", "messages", "response_format", "temperature", "user"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"input": 7}, "input"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0]"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]}, "input[0].content"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "pmpt"}}, "prompt"),
        ({"background": True}, "background"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format"),
        ({"tool_choice": 7}, "tool_choice"),
    ],
)
def test_what_responses_ask_and_nobody_can_answer_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    assert refused(RESPONSES, **fields).error.param == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"suffix": "}"}, "suffix"),
        ({"echo": True}, "echo"),
        ({"logprobs": 3}, "logprobs"),
        ({"best_of": 2}, "best_of"),
    ],
)
def test_what_completions_ask_and_no_model_that_chats_can_do_is_refused_by_name(
    fields: dict[str, Any], param: str
) -> None:
    assert refused(COMPLETIONS, **fields).error.param == param


def test_the_rest_of_a_request_in_completions() -> None:
    made = asked(COMPLETIONS, prompt=["Hi"], n=2, stop=["x"], seed=3, suffix="", echo=False, best_of=1)
    assert made == {"model": "m", "messages": USER, "n": 2, "stop": ["x"], "seed": 3}
