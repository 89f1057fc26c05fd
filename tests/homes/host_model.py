"""A model inside a host application: answers as vLLM does, and keeps what it was asked."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

PROMPT_TOKENS, OUTPUT_TOKENS = 5, 3
WORDS = ("one ", "two ", "three")
USAGE = {
    "prompt_tokens": PROMPT_TOKENS,
    "completion_tokens": OUTPUT_TOKENS,
    "total_tokens": PROMPT_TOKENS + OUTPUT_TOKENS,
}

PRICED = [
    {
        "model_name": "*",
        "litellm_params": {"model": "openai/*"},
        "model_info": {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6},
    }
]
"""What any model costs, as a model list says it."""


class HostModel:
    """`stalls`: a stream stops behind its first word; `left` is set when the host gives it up."""

    def __init__(self, *, stalls: bool = False) -> None:
        self.asked: list[dict[str, Any]] = []
        self.stalls = stalls
        self.left = asyncio.Event()

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(body)
        choice = {"index": 0, "message": {"role": "assistant", "content": "".join(WORDS)}, "finish_reason": "stop"}
        return {**_head(body), "object": "chat.completion", "choices": [choice], "usage": USAGE}

    def stream(self, body: dict[str, Any]) -> Iterator[bytes]:
        self.asked.append(body)
        asked = (body.get("stream_options") or {}).get("include_usage")
        for word in WORDS:
            yield _frame(body, [{"index": 0, "delta": {"content": word}, "finish_reason": None}])
        yield _frame(body, [{"index": 0, "delta": {}, "finish_reason": "stop"}])
        if asked:
            yield _frame(body, [], usage=USAGE)
        yield b"data: [DONE]\n\n"

    async def events(self, body: dict[str, Any]) -> AsyncIterator[bytes]:
        try:
            for frame in self.stream(body):
                yield frame
                if self.stalls:
                    await asyncio.sleep(60)
        finally:
            self.left.set()


def _head(body: dict[str, Any]) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "created": 1, "model": body["model"]}


def _frame(body: dict[str, Any], choices: list[Any], **more: Any) -> bytes:
    chunk = {**_head(body), "object": "chat.completion.chunk", "choices": choices, **more}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"
