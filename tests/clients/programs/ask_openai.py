"""openai-python, any version: what it makes of a stream."""

from typing import Any

import openai
from jobs import Job, run


def prepare(base_url: str, api_key: str) -> Any:
    client = openai.AsyncOpenAI(base_url=base_url, api_key=api_key, max_retries=0)

    async def read(job: Job) -> dict[str, Any]:
        text, reasoning, calls, usage, finish = "", "", {}, None, None
        stream = await client.chat.completions.create(
            model=job["model"],
            messages=[{"role": "user", "content": job["message"]}],
            stream=True,
            extra_body={"stream_options": {"include_usage": True}},  # before 1.26 the SDK has no parameter for it
            **({"tools": job["tools"]} if job["tools"] else {}),
        )
        async for chunk in stream:
            usage = getattr(chunk, "usage", None) or usage
            for choice in chunk.choices:
                text += choice.delta.content or ""
                extra = choice.delta.model_extra or {}
                reasoning += extra.get("reasoning_content") or extra.get("reasoning") or ""
                finish = choice.finish_reason or finish
                for call in choice.delta.tool_calls or ():
                    parts = calls.setdefault(call.index, ["", "", ""])
                    parts[0] = call.id or parts[0]
                    parts[1] += call.function.name or ""
                    parts[2] += call.function.arguments or ""
        return {
            "text": text,
            "reasoning": reasoning,
            "calls": [calls[index] for index in sorted(calls)],
            "usage": usage and [_count(usage, "prompt_tokens"), _count(usage, "completion_tokens")],
            "finish": finish,
        }

    return read


def _count(usage: Any, name: str) -> Any:
    return usage[name] if isinstance(usage, dict) else getattr(usage, name)  # before 1.26 the SDK leaves it a dict


run(openai.__version__, prepare)
