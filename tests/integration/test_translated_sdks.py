"""OpenAI's and Anthropic's SDKs against `crplugins serve`, whose upstreams speak neither of their protocols."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import openai
import pytest
import pytest_asyncio

from tests.families.catalogue import FAMILIES
from tests.families.lab import models_of
from tests.families.story import CUT_IN_THE_MIDDLE, ERROR_INSIDE, ORDINARY, THINKING, TOOLS, Right
from tests.families.upstream import asking_for, playing
from tests.warm import warm_crplugins

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

SERVED = ("anthropic", "gemini", "cohere", "deepseek")
CASES = (ORDINARY, THINKING, TOOLS)
KEYS = {name: f"sk-{name}-0123456789abcdef" for name in ("responses", "messages")}
TOOL: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    folder = tmp_path_factory.mktemp("translated")
    async with playing() as upstream:
        models = [entry for name in SERVED for entry in models_of(FAMILIES[name], upstream)]
        config = {
            "model_list": models,
            "keys": [{"id": name, "secret": secret} for name, secret in KEYS.items()],
            "num_retries": 0,
        }
        (folder / "gateway.yaml").write_text(json.dumps(config))  # JSON is YAML
        process = await asyncio.create_subprocess_exec(
            *warm_crplugins("serve", "--port", 0, litellm=True),
            cwd=folder,
            env={**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            assert process.stdout is not None
            async with asyncio.timeout(60):
                line = (await process.stdout.readline()).decode()
            address = next(word for word in line.split() if word.startswith("http://"))
            yield address.rstrip("/")
        finally:
            process.send_signal(signal.SIGTERM)
            await process.communicate()


def families() -> list[Any]:
    served = [(name, "litellm") for name in SERVED] + [("deepseek", "direct")]
    return [pytest.param(f"{name}.{handler}", FAMILIES[name], id=f"{name}-{handler}") for name, handler in served]


def right_of(family: Any, name: str, *, streamed: bool) -> Right:
    return next(case for case in family.cases if case.name == name).right_for(streamed=streamed)


@pytest.mark.parametrize(("model", "family"), families())
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("streamed", [True, False])
async def test_openais_sdk_reads_responses(url: str, model: str, family: Any, case: str, streamed: bool) -> None:
    right = right_of(family, case, streamed=streamed)
    asked: dict[str, Any] = {
        "model": model,
        "input": asking_for(family.name, case),
        "tools": [{"type": "function", "name": "get_weather", "parameters": TOOL, "strict": False}],
    }
    async with openai.AsyncOpenAI(base_url=url + "/v1", api_key=KEYS["responses"], max_retries=0) as sdk:
        if streamed:
            async with sdk.responses.stream(**asked) as stream:
                async for _ in stream:
                    pass
                answer = await stream.get_final_response()
        else:
            answer = await sdk.responses.create(**asked)
    assert answer.output_text == right.text
    calls = [(item.name, json.loads(item.arguments)) for item in answer.output if item.type == "function_call"]
    assert tuple(calls) == right.calls
    thoughts = [part.text for item in answer.output if item.type == "reasoning" for part in item.summary]
    if f"{model}.{case}.{streamed}" != f"cohere.litellm.{THINKING}.False":
        assert "".join(thoughts) == right.reasoning
    assert (answer.status, answer.model) == ("completed", model)
    assert right.usage is not None
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (
        right.usage.input_tokens,
        right.usage.output_tokens,
    )
    assert answer.usage.input_tokens_details.cached_tokens == right.usage.cached_input_tokens


@pytest.mark.parametrize(("model", "family"), families())
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("streamed", [True, False])
async def test_anthropics_sdk_reads_messages(url: str, model: str, family: Any, case: str, streamed: bool) -> None:
    right = right_of(family, case, streamed=streamed)
    asked: dict[str, Any] = {
        "model": model,
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": asking_for(family.name, case)}],
        "tools": [{"name": "get_weather", "input_schema": TOOL}],
    }
    async with anthropic.AsyncAnthropic(base_url=url, api_key=KEYS["messages"], max_retries=0) as sdk:
        if streamed:
            async with sdk.messages.stream(**asked) as stream:
                async for _ in stream:
                    pass
                answer = await stream.get_final_message()
        else:
            answer = await sdk.messages.create(**asked)
    assert "".join(block.text for block in answer.content if block.type == "text") == right.text
    assert tuple((block.name, block.input) for block in answer.content if block.type == "tool_use") == right.calls
    thoughts = "".join(block.thinking for block in answer.content if block.type == "thinking")
    if f"{model}.{case}.{streamed}" != f"cohere.litellm.{THINKING}.False":
        assert thoughts == right.reasoning
    assert (answer.stop_reason, answer.model) == ("tool_use" if right.calls else "end_turn", model)
    usage, told = answer.usage, right.usage
    assert told is not None
    cached = (usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0)
    assert cached == (told.cached_input_tokens, told.cache_write_input_tokens)
    assert (usage.input_tokens + sum(cached), usage.output_tokens) == (told.input_tokens, told.output_tokens)


@pytest.mark.parametrize("case", [CUT_IN_THE_MIDDLE, ERROR_INSIDE])
@pytest.mark.parametrize(("model", "family"), families())
async def test_an_answer_that_fails_is_taken_for_no_whole_one_by_either_sdk(
    url: str, model: str, family: Any, case: str
) -> None:
    said = asking_for(family.name, case)
    async with openai.AsyncOpenAI(base_url=url + "/v1", api_key=KEYS["responses"], max_retries=0) as sdk:
        try:
            events = [event.type async for event in await sdk.responses.create(model=model, input=said, stream=True)]
        except openai.APIError:  # before the first token it is a status
            events = ["error"]
        assert events[-1] in ("error", "response.failed")
        assert "response.completed" not in events
    async with anthropic.AsyncAnthropic(base_url=url, api_key=KEYS["messages"], max_retries=0) as claude:
        asked: dict[str, Any] = {"model": model, "max_tokens": 10, "messages": [{"role": "user", "content": said}]}
        with pytest.raises(anthropic.APIError):
            async with claude.messages.stream(**asked) as stream:
                await stream.get_final_message()
