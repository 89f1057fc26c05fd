"""litellm is loaded once, late, off the event loop, and quiet."""

import asyncio
import os
import subprocess
import sys

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


def test_the_event_loop_runs_while_litellm_is_loaded_and_the_operators_environment_wins():
    program = """
import asyncio, os, time
from crplugins.handlers.litellm.loading import open_litellm
async def ticks():
    longest, last = 0.0, time.perf_counter()
    while True:
        await asyncio.sleep(0.005)
        longest, last = max(longest, time.perf_counter() - last), time.perf_counter()
        gaps.append(longest)
async def main():
    ticking = asyncio.create_task(ticks())
    await asyncio.sleep(0)
    await open_litellm()
    ticking.cancel()
gaps = []
asyncio.run(main())
print(len(gaps) > 20, os.environ["LITELLM_LOG"], os.environ["LITELLM_LOCAL_MODEL_COST_MAP"])
"""
    assert run(program, LITELLM_LOG="CRITICAL") == "True CRITICAL True"


async def test_loading_again_costs_nothing():
    await open_litellm()
    loaded = set(sys.modules)
    assert await open_litellm() is load_litellm()
    assert set(sys.modules) == loaded
    await close_litellm()
    await close_litellm()


def test_litellm_writes_nothing_past_the_hosts_logging():
    program = """
import logging
from crplugins.handlers.litellm.loading import load_litellm
load_litellm()
print([logging.getLogger(name).handlers for name in ("LiteLLM", "LiteLLM Proxy", "LiteLLM Router")])
"""
    assert run(program) == "[[], [], []]"


async def test_nothing_is_left_open_when_the_last_handler_closes(cassettes):
    litellm = load_litellm()
    async with FakeProvider(cassettes=cassettes) as provider:
        async with asking(provider) as first, asking(provider, "anthropic/replay-anthropic-cache-ping") as second:
            await first.plain()
            await second.stream()
            assert litellm.in_memory_llm_clients_cache.cache_dict
            assert provider.connections == 2
        await asyncio.sleep(0)
        assert not litellm.in_memory_llm_clients_cache.cache_dict
        await provider.wait_idle()
        assert provider.connections == 0
