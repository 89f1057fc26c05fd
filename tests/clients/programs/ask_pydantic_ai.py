"""pydantic-ai: what its model for OpenAI's chat completions makes of a stream."""

import importlib.metadata
from typing import Any

from jobs import Job, run
from openai import AsyncOpenAI
from pydantic_ai.direct import model_request_stream
from pydantic_ai.messages import ModelRequest, TextPart, ThinkingPart, ToolCallPart
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.tools import ToolDefinition


def prepare(base_url: str, api_key: str) -> Any:
    provider = OpenAIProvider(openai_client=AsyncOpenAI(base_url=base_url, api_key=api_key, max_retries=0))

    async def read(job: Job) -> dict[str, Any]:
        functions = [tool["function"] for tool in job["tools"]]
        tools = [ToolDefinition(name=each["name"], parameters_json_schema=each["parameters"]) for each in functions]
        async with model_request_stream(
            OpenAIChatModel(job["model"], provider=provider),
            [ModelRequest.user_text_prompt(job["message"])],
            model_request_parameters=ModelRequestParameters(function_tools=tools, allow_text_output=True),
        ) as stream:
            async for _ in stream:
                pass
            answer = stream.get()
        calls = [part for part in answer.parts if isinstance(part, ToolCallPart)]
        return {
            "text": "".join(part.content for part in answer.parts if isinstance(part, TextPart)),
            "reasoning": "".join(part.content for part in answer.parts if isinstance(part, ThinkingPart)),
            "calls": [[part.tool_call_id, part.tool_name, part.args_as_json_str()] for part in calls],
            "usage": [answer.usage.input_tokens, answer.usage.output_tokens],
            "finish": answer.finish_reason,
        }

    return read


run(importlib.metadata.version("pydantic-ai-slim"), prepare)
