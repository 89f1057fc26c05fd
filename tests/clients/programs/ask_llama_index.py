"""llama-index: what OpenAILike makes of a stream."""

import importlib.metadata
from typing import Any

from jobs import Job, run
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike


def prepare(base_url: str, api_key: str) -> Any:
    async def read(job: Job) -> dict[str, Any]:
        model = OpenAILike(
            model=job["model"],
            api_base=base_url,
            api_key=api_key,
            max_retries=0,
            temperature=1,  # its own is 0.1, which reasoning models refuse
            is_chat_model=True,
            is_function_calling_model=True,
            additional_kwargs={"stream_options": {"include_usage": True}},
        )
        extra = {"tools": job["tools"]} if job["tools"] else {}
        answers = await model.astream_chat([ChatMessage(role="user", content=job["message"])], **extra)
        last, usage, finish = None, None, None
        async for answer in answers:
            last = answer
            usage = getattr(answer.raw, "usage", None) or usage
            for choice in getattr(answer.raw, "choices", ()):
                finish = choice.finish_reason or finish
        assert last is not None, "an answer without a single piece"
        message = last.message
        calls = message.additional_kwargs.get("tool_calls") or []
        thoughts = [block.content or "" for block in message.blocks if block.block_type == "thinking"]
        return {
            "text": message.content or "",
            "reasoning": "".join(thoughts),
            "calls": [[call.id, call.function.name, call.function.arguments] for call in calls],
            "usage": usage and [usage.prompt_tokens, usage.completion_tokens],
            "finish": finish,
        }

    return read


run(importlib.metadata.version("llama-index-llms-openai-like"), prepare)
