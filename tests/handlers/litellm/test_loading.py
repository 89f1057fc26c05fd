"""litellm is loaded once, late, off the event loop, and quiet."""

import asyncio
import json
import os
import subprocess
import sys

import pytest

from crplugins.handlers.litellm.loading import close_litellm, load_litellm, open_litellm
from crplugins.testing import FakeProvider
from tests.litellm_setup import asking


def run(program: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ | environment
    )
    assert done.stderr == ""
    return done.stdout.strip()


def test_importing_the_handler_imports_no_litellm():
    program = """
import sys, crplugins, crplugins.handlers.litellm.handler, crplugins.handlers.demo, crplugins.handlers.upstream
print([name for name in ("litellm", "openai", "httpx") if name in sys.modules])
"""
    assert run(program) == "[]"


@pytest.fixture(scope="module")
def loaded():
    """Of a process that has loaded litellm: how often its event loop ran meanwhile, its environment, its loggers."""
    program = """
import asyncio, json, logging, os
from crplugins.handlers.litellm.loading import open_litellm
ticks = 0
async def ticking():
    global ticks
    while True:
        await asyncio.sleep(0.005)
        ticks += 1
async def main():
    task = asyncio.create_task(ticking())
    await asyncio.sleep(0)
    await open_litellm()
    task.cancel()
asyncio.run(main())
names = ("LiteLLM", "LiteLLM Proxy", "LiteLLM Router")
print(json.dumps({"ticks": ticks, "environment": dict(os.environ),
                  "handlers": [repr(handler) for name in names for handler in logging.getLogger(name).handlers]}))
"""
    return json.loads(run(program, LITELLM_LOG="CRITICAL"))


def test_the_event_loop_runs_while_litellm_is_loaded_and_the_operators_environment_wins(loaded):
    assert loaded["ticks"] > 20
    assert loaded["environment"]["LITELLM_LOG"] == "CRITICAL"
    assert loaded["environment"]["LITELLM_LOCAL_MODEL_COST_MAP"] == "True"


async def test_loading_again_costs_nothing():
    await open_litellm()
    loaded = set(sys.modules)
    assert await open_litellm() is load_litellm()
    assert set(sys.modules) == loaded
    await close_litellm()
    await close_litellm()


def test_litellm_writes_nothing_past_the_hosts_logging(loaded):
    assert loaded["handlers"] == []


async def test_nothing_is_left_open_when_the_last_handler_closes(cassettes):
    litellm = load_litellm()
    async with FakeProvider(cassettes=cassettes) as provider:
        async with asking(provider) as first, asking(provider, "anthropic/replay-anthropic-cache-ping") as second:
            await first.plain(reasoning_effort="low")  # which is litellm's own, whatever was rehearsed before
            await second.stream()
            assert litellm.in_memory_llm_clients_cache.cache_dict
            assert provider.connections == 2
        await asyncio.sleep(0)
        assert not litellm.in_memory_llm_clients_cache.cache_dict
        await provider.wait_idle()
        assert provider.connections == 0
