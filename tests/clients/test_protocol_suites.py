"""Suites that others have written judge Responses and Messages of the gateway, asked as they are and translated.

Each is named by a variable, and skipped without it:

    AI_SDK=FOLDER        npm install ai@6.0.326 @ai-sdk/openai@3.0.141 @ai-sdk/anthropic@3.0.140 zod@4.6.7
    COMPATCANARY=PROGRAM npm install compatcanary@0.2.2; node_modules/.bin/compatcanary
    LANGCHAIN=PYTHON     pip install langchain-tests==1.1.9 langchain-openai==1.7.3 langchain-anthropic==1.7.10 pytest-asyncio
    LLM_COMPLY=PROGRAM   pip install llm-comply==0.5.0
"""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from crplugins.homes.gateway.app import Gateway
from crplugins.testing import FakeProvider
from tests.clients.installed import PROGRAMS
from tests.conftest import serving

SECRET = "sk-test-of-protocol-suites"
CHAT_ALONE = {"supported_endpoints": ["/v1/chat/completions"]}
pytestmark = pytest.mark.slow
each_model = pytest.mark.parametrize("model", ["direct", "translated"])


def named(variable: str) -> str:
    value = os.environ.get(variable, "")
    if not value:
        pytest.skip(f"{variable} names none")
    return value


@pytest_asyncio.fixture
async def url() -> AsyncIterator[str]:
    async with FakeProvider() as provider:
        at = {"model": "hosted_vllm/m", "api_base": provider.base_url}
        app = Gateway(
            model_list=[
                {"model_name": "direct", "litellm_params": at},
                {"model_name": "translated", "litellm_params": at, "model_info": CHAT_ALONE},
            ],
            keys=[{"id": "suite", "secret": SECRET}],
        )
        async with serving(app) as address:
            yield f"{address}/v1"


async def run(command: Sequence[str], url: str, model: str, **more: str) -> tuple[int, str]:
    other = "translated" if model == "direct" else "direct"
    environ = {
        **os.environ,
        "BASE_URL": url,
        "API_KEY": SECRET,
        "OPENAI_API_KEY": SECRET,
        "MODEL": model,
        "MODEL_ALT": other,
    }
    environ |= {"AI_SDK_LOG_WARNINGS": "false", "LANGSMITH_TRACING": "false", **more}
    process = await asyncio.create_subprocess_exec(
        *command, env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await asyncio.wait_for(process.communicate(), 300)
    assert process.returncode is not None
    return process.returncode, out.decode()


@each_model
async def test_the_ai_sdk_reads_every_protocol(url: str, model: str) -> None:
    program = Path(named("AI_SDK")) / "ai_sdk_protocols.mjs"
    shutil.copy(PROGRAMS / program.name, program)  # Node looks for packages beside the program
    vectors = {"SPEAKS_EMBEDDINGS": "yes"} if model == "direct" else {}
    status, out = await run(["node", "--test", "--test-reporter=tap", str(program)], url, model, **vectors)
    assert status == 0, out[-5000:]
    assert "# pass 50" in out or model == "translated"


@each_model
async def test_langchains_standard_tests_pass(url: str, model: str) -> None:
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:randomly", "-o", "asyncio_mode=auto"]
    for scope in ("test", "fixture"):  # the suite shares a client between its tests
        options += ["-o", f"asyncio_default_{scope}_loop_scope=session"]
    program = PROGRAMS / "langchain_protocols.py"
    command = [
        named("LANGCHAIN"),
        "-m",
        "pytest",
        "--noconftest",
        "--rootdir",
        str(PROGRAMS),
        "-c",
        os.devnull,
        *options,
    ]
    status, out = await run([*command, str(program)], url, model)
    assert status == 0, out[-5000:]


@each_model
@pytest.mark.parametrize("form", ["open-responses", "anthropic", "openai-chat"])
async def test_llm_comply_finds_nothing(url: str, model: str, form: str) -> None:
    command = [named("LLM_COMPLY"), "--format", form, "-u", url, "-k", SECRET, "-m", model, "--json"]
    _, out = await run(command, url, model)
    told: dict[str, Any] = json.loads(out[out.index("{") :])
    assert told["summary"].get("failed", 0) == 0, out
    assert told["summary"]["passed"] >= 8


@each_model
async def test_compatcanary_passes_what_is_modern(url: str, model: str) -> None:
    command = [named("COMPATCANARY"), "scan", "--base-url", url, "--model", model, "--profile", "modern"]
    status, out = await run(command, url, model)
    assert (status, "0 warned, 0 failed" in out) == (0, True), out
