"""langchain-openai: what ChatOpenAI makes of a stream."""

import importlib.metadata
import json
from typing import Any

from jobs import Job, run
from langchain_openai import ChatOpenAI


def prepare(base_url: str, api_key: str) -> Any:
    async def read(job: Job) -> dict[str, Any]:
        model: Any = ChatOpenAI(
            model=job["model"], base_url=base_url, api_key=api_key, max_retries=0, stream_usage=True
        )
        if job["tools"]:
            model = model.bind_tools(job["tools"])
        whole: Any = None
        async for chunk in model.astream(job["message"]):
            whole = chunk if whole is None else whole + chunk
        usage = whole.usage_metadata
        thoughts = [block["reasoning"] for block in whole.content_blocks if block["type"] == "reasoning"]
        return {
            "text": str(whole.text),
            "reasoning": "".join(thoughts) or whole.additional_kwargs.get("reasoning_content", ""),
            "calls": [[call["id"], call["name"], json.dumps(call["args"])] for call in whole.tool_calls],
            "usage": usage and [usage["input_tokens"], usage["output_tokens"]],
            "finish": whole.response_metadata.get("finish_reason"),
        }

    return read


run(importlib.metadata.version("langchain-openai"), prepare)
