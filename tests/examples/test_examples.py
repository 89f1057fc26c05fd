"""Each example runs, as its own text says."""

import asyncio
import runpy
from pathlib import Path

import openai
import pytest
import yaml

from crplugins.config import load_config
from crplugins.homes.gateway.app import Gateway
from crplugins.testing import FakeProvider, Script, usage_object

EXAMPLES = Path(__file__).parents[2] / "examples"
TEXT = "write to ada@example.com or to bob.b+x@mail.example.org, please"


@pytest.fixture
def load(monkeypatch):
    def run(name: str) -> dict:
        return runpy.run_path(str(EXAMPLES / name))

    return run


async def test_the_ten_line_gateway_answers(serve, load):
    async with serve(load("gateway.py")["app"]) as url:
        async with openai.AsyncOpenAI(base_url=url + "/v1", api_key="sk-team-a-change-me") as client:
            answer = await client.chat.completions.create(
                model="echo", messages=[{"role": "user", "content": "hi there"}]
            )
            assert "hi there" in answer.choices[0].message.content


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("chunk_size", [1, 7, 100])
async def test_the_redactor_finds_addresses_that_a_stream_cuts_in_two(serve, load, stream, chunk_size):
    plugin = load("own_plugin.py")["RedactEmails"]
    async with FakeProvider(default=Script(text=TEXT, chunk_size=chunk_size)) as provider:
        model = {"model_name": "m", "litellm_params": {"model": "openai/x", "api_base": provider.base_url}}
        app = Gateway(model_list=[model], keys=[{"id": "k", "secret": "sk-k"}], plugins=[plugin])
        async with serve(app) as url, openai.AsyncOpenAI(base_url=url + "/v1", api_key="sk-k") as client:
            answer = await client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": "hi"}], stream=stream
            )
            if stream:
                text = "".join([chunk.choices[0].delta.content or "" async for chunk in answer])
            else:
                text = answer.choices[0].message.content
    assert text == "write to [e-mail] or to [e-mail], please"


async def test_an_agent_that_never_finds_its_task_done_ends_with_its_share(serve, load, monkeypatch):
    monkeypatch.setenv("AGENTS_KEY", "sk-agents-0123456789")
    async with FakeProvider(default=Script(text="hm", usage_object=usage_object(1000, 500))) as provider:
        words = yaml.safe_load((EXAMPLES / "agents.yaml").read_text())
        [model] = words["model_list"]
        model["litellm_params"] = {"model": "openai/gpt-4o-mini", "api_base": provider.base_url, "api_key": "sk-up"}
        model["model_info"] = {"input_cost_per_token": 1e-4, "output_cost_per_token": 2e-4}  # 0.2 USD a step
        async with serve(Gateway(**words)) as url:
            monkeypatch.setenv("OPENAI_BASE_URL", f"{url}/v1")
            monkeypatch.setenv("OPENAI_API_KEY", "sk-agents-0123456789")
            said = await asyncio.to_thread(load("agent_loop.py")["run"], "Look for it.")
            assert said == "stopped after 10 steps: session_budget_exceeded"
            provider.default = Script(text="DONE, here it is")
            assert await asyncio.to_thread(load("agent_loop.py")["run"], "Look again.") == "DONE, here it is"


def test_the_configuration_file_is_valid():
    environ = {"OPENAI_API_KEY": "sk-a", "TEAM_A_KEY": "sk-b", "METRICS_TOKEN": "t"}
    config = load_config(EXAMPLES / "gateway.yaml", environ)
    assert [entry.model_name for entry in config.model_list] == ["gpt-4o-mini", "local", "echo"]
