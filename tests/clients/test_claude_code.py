"""Claude Code before the gateway: a loop with a tool, a limit that it waits for, and what the records say of both.

`CLAUDE_CODE=/path/to/claude pytest tests/clients/test_claude_code.py`, after `npm install @anthropic-ai/claude-code`.
Its version 2.1.197 is what this has last been tried with. It asks nobody but the gateway.
"""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from crplugins.core.dialects import MESSAGES
from crplugins.core.usage import TokenUsage
from tests.core.dialects.test_messages import WHOLE, Fields
from tests.homes.gateway.test_messages import Asked, Reply, Upstream, gateway

PROGRAM = os.environ.get("CLAUDE_CODE", "")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not PROGRAM, reason="CLAUDE_CODE names no program")]

CALL = {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "echo $((40 + 2))"}}
USAGE = {
    "input_tokens": 11, "output_tokens": 77, "cache_read_input_tokens": 3000, "cache_creation_input_tokens": 200,
    "cache_creation": {"ephemeral_5m_input_tokens": 50, "ephemeral_1h_input_tokens": 150},
}  # fmt: skip
COUNTS = TokenUsage(
    input_tokens=3211,
    output_tokens=77,
    cached_input_tokens=3000,
    cache_write_input_tokens=200,
    long_cache_write_input_tokens=150,
)
MICRO_USD = 3176  # 11 * 3 + 3000 * 0.3 + 50 * 3.75 + 150 * 6 + 77 * 15, rounded half up


class Model(Upstream):
    """Asks for a command, and then says what it has printed."""

    def reply(self, asked: Asked) -> Reply:
        results = [block for block in _blocks(asked.body) if block.get("type") == "tool_result"]
        said = [{"type": "text", "text": f"It is {results[-1]['content']}."}] if results else [CALL]
        reason = "end_turn" if results else "tool_use"
        message = {**WHOLE, "content": said, "stop_reason": reason, "usage": USAGE}
        return Reply(b"".join(event.raw for event in MESSAGES.stream_of(json.dumps(message).encode())))


def _blocks(body: Fields) -> list[Fields]:
    contents = [message["content"] for message in body["messages"] if isinstance(message["content"], list)]
    return [block for content in contents for block in content]


async def run(url: str, secret: str, folder: Path) -> str:
    """What the program prints."""
    environ = {
        "PATH": os.environ["PATH"], "HOME": str(folder), "ANTHROPIC_BASE_URL": url, "ANTHROPIC_AUTH_TOKEN": secret,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        PROGRAM, "-p", "What is 40 + 2?", "--allowedTools", "Bash", "--model", "claude",
        cwd=folder, env=environ, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    printed, _ = await asyncio.wait_for(process.communicate(), 300)
    return printed.decode()


async def test_a_loop_with_a_tool_is_recorded_to_the_token_and_a_limit_is_waited_for(tmp_path: Path) -> None:
    keys: list[dict[str, Any]] = [
        {"id": "dev", "secret": "sk-of-dev"},
        {
            "id": "slow",
            "secret": "sk-of-slow",
            "limits": {"requests_per_minute": 20, "burst": {"requests_per_minute": 1}},
        },
    ]
    async with gateway(Model(), keys=keys) as client:
        printed = [await run(client.url, secret, tmp_path) for secret in ("sk-of-dev", "sk-of-slow")]
    assert all("It is 42." in each for each in printed), printed
    records = {key: [r for r in client.records if r.key_id == key] for key in ("dev", "slow")}
    assert [record.status for record in records["dev"]] == [200, 200]
    slow = [record.status for record in records["slow"]]
    assert (slow[0], slow[-1], {*slow}) == (200, 200, {200, 429})
    answered = [record for record in client.records if record.status == 200]
    assert [(record.usage, record.cost_micro_usd) for record in answered] == [(COUNTS, MICRO_USD)] * 4
