"""What Claude Code and Codex send in 2026, before a server whose chat template takes nothing but the plainest order."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from anthropic.types import RawMessageStreamEvent
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from crplugins import Gateway, Usage, UsageRecord
from tests.asgi_body import request_body
from tests.conftest import serving

SECRET = "sk-of-agents-0123456789"
PICTURE = "iVBORw0KGgo="
MCP = "mcp__plugin_of_a_marketplace_with_a_long_name__list_all_of_the_open_pull_requests"


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **more}


def said(role: str, *parts: dict[str, Any]) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": [*parts]}


def given(words: str) -> dict[str, Any]:
    return {"type": "input_text", "text": words}


CLAUDE_CODE: dict[str, Any] = {
    "max_tokens": 32000, "stream": True, "temperature": 1, "thinking": {"type": "adaptive"},
    "output_config": {"effort": "high"}, "context_management": {"edits": [{"type": "clear_thinking_20251015"}]},
    "metadata": {"user_id": json.dumps({"device_id": "a" * 64, "account_uuid": "b" * 36, "session_id": "c" * 36})},
    "system": [
        text("x-anthropic-billing-header: cc_version=2.1.280; cch=ea6aa;"),
        text("You are Claude Code.", cache_control={"type": "ephemeral", "ttl": "1h"}),
    ],
    "tools": [
        {"name": "Bash", "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}}},
        {"name": MCP, "input_schema": {"type": "object"}, "defer_loading": True},
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 8},
    ],
    "messages": [
        {"role": "user", "content": [text("<system-reminder>CLAUDE.md</system-reminder>"), text("Look.")]},
        {"role": "system", "content": "Agents: none."},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "Hm", "signature": ""},
            {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "ls"}},
            {"type": "tool_use", "id": "toolu_2", "name": "ToolSearch", "input": {"query": "pull"}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "toolu_1", "content": [
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PICTURE}},
            ]},
            {"type": "tool_result", "tool_use_id": "toolu_2", "content": [{"type": "tool_reference", "tool_name": MCP}]},
        ]},
        {"role": "system", "content": [text("Skills: none.")]},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "Only this.", "signature": "x"}]},
        {"role": "user", "content": "Go on."},
    ],
}  # fmt: skip
CODEX: dict[str, Any] = {
    "stream": True, "store": False, "instructions": "You are Codex.", "tool_choice": "auto", "prompt_cache_key": "k",
    "include": ["reasoning.encrypted_content"], "reasoning": {"effort": "high", "summary": "auto"},
    "text": {"verbosity": "low"}, "client_metadata": {"x": "y"}, "parallel_tool_calls": True,
    "tools": [
        {"type": "function", "name": "view_image", "strict": False, "parameters": {"type": "object"}},
        {"type": "custom", "name": "apply_patch", "format": {"type": "grammar", "syntax": "lark", "definition": "x"}},
        {"type": "namespace", "name": "mcp__docs", "description": "", "tools": [
            {"type": "function", "name": "search", "parameters": {"type": "object"}},
        ]},
        {"type": "web_search", "external_web_access": True},
    ],
    "input": [
        said("developer", given("Never push.")), said("user", given("# AGENTS.md")), said("user", given("Look.")),
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm"}], "content": None},
        {"type": "function_call", "call_id": "c1", "name": "search", "namespace": "mcp__docs", "arguments": "{}"},
        {"type": "function_call", "call_id": "c2", "name": "view_image", "arguments": '{"path":"a.png"}'},
        {"type": "function_call_output", "call_id": "c2", "output": [
            {"type": "input_image", "image_url": f"data:image/png;base64,{PICTURE}"},
        ]},
        {"type": "function_call_output", "call_id": "c1", "output": "{}"},
        said("developer", given("Plan mode.")), said("user", given("Go on.")),
    ],
}  # fmt: skip
AGENTS = [
    pytest.param("/v1/messages?beta=true", CLAUDE_CODE, MCP, TypeAdapter(RawMessageStreamEvent), id="claude-code"),
    pytest.param("/v1/responses", CODEX, "search", TypeAdapter(ResponseStreamEvent), id="codex"),
]


class Server:
    """Refuses what templates of Qwen, Gemma and Mistral refuse, and calls the last of its tools."""

    def __init__(self) -> None:
        self.refused: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = await request_body(receive)
        asked = json.loads(body)
        self.refused += [*_faults(asked)]
        status = 400 if self.refused else 200
        answer = json.dumps({"error": {"message": self.refused}}).encode() if self.refused else _stream(asked)
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": answer})


def _faults(asked: dict[str, Any]) -> Iterator[str]:
    before: dict[str, Any] = {"role": ""}
    for number, message in enumerate(asked["messages"]):
        role = message["role"]
        if role == "system" and number:
            yield "System message must be at the beginning"
        if role == before["role"] and role != "tool":
            yield "Conversation roles must alternate"
        if calls := message.get("tool_calls"):
            behind = asked["messages"][number + 1 : number + 1 + len(calls)]
            if {call["id"] for call in calls} != {result.get("tool_call_id") for result in behind}:
                yield "tool_calls must be followed by tool messages"
        elif not message["content"] and role != "tool":
            yield f"messages[{number}] is empty"
        before = message
    for tool in asked["tools"]:
        if len(tool["function"]["name"]) > 64 or "properties" not in tool["function"]["parameters"]:
            yield f"tool {tool['function']['name']}"
    if len(asked.get("user", "")) > 64:
        yield "user"


def _stream(asked: dict[str, Any]) -> bytes:
    called = {"name": asked["tools"][-1]["function"]["name"], "arguments": "{}"}
    deltas: list[dict[str, Any]] = [
        {"reasoning_content": "Hm"},
        {"content": "I look."},
        {"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": called}]},
    ]
    chunks: list[dict[str, Any]] = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
    chunks.append({"choices": [], "usage": {"prompt_tokens": 700, "completion_tokens": 30, "total_tokens": 730}})
    frames = [json.dumps({"id": "c", "model": "m", **chunk}) for chunk in chunks]
    return "".join(f"data: {frame}\n\n" for frame in [*frames, "[DONE]"]).encode()


@pytest.mark.parametrize(("path", "request_body", "calls", "event"), AGENTS)
async def test_an_agent_goes_on_with_a_model_behind_a_strict_template(
    path: str, request_body: dict[str, Any], calls: str, event: TypeAdapter[Any]
) -> None:
    server, records = Server(), list[UsageRecord]()
    async with serving(server) as upstream:
        at = {"model": "hosted_vllm/qwen", "api_base": f"{upstream}/v1"}
        only = {"supported_endpoints": ["/v1/chat/completions"]}
        app = Gateway(
            model_list=[{"model_name": "local", "litellm_params": at, "model_info": only}],
            keys=[{"id": "dev", "secret": SECRET}],
            plugins=[{"use": Usage(sinks=[records.append]), "before": "Auth"}],
        )
        headers = {"authorization": f"Bearer {SECRET}", "anthropic-version": "2023-06-01"}
        async with serving(app) as url, httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as client:
            answer = await client.post(path, json={"model": "local", **request_body})
    assert server.refused == []
    assert answer.status_code == 200, answer.text
    told = [json.loads(line.removeprefix("data: ")) for line in answer.text.split("\n") if line.startswith("data: ")]
    for each in told:
        event.validate_python(each)
    named = [each.get("content_block") or each.get("item") or {} for each in told]
    assert calls in [each.get("name") for each in named]
    if calls == "search":
        assert {each.get("namespace") for each in named if each.get("name") == calls} == {"mcp__docs"}
    assert [(r.outcome, r.usage and r.usage.input_tokens, r.usage_source) for r in records] == [("ok", 700, "provider")]
