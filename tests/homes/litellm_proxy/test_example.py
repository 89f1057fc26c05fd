"""The example's README, followed word by word: its two ways to start, and its request, with what it tells to install."""

import asyncio
import re
import shutil
import sys
from pathlib import Path

import httpx
import pytest

from crplugins.testing import FakeProvider
from tests.conftest import CHECKOUT
from tests.documents.confined import environment_of, python_command
from tests.documents.pages import blocks, commands, installs
from tests.documents.test_readme import curl, free_port, running
from tests.proxy_setup import QUIET, needs_proxy

pytestmark = [pytest.mark.slow, needs_proxy]

PAGE = "examples/litellm_proxy/README.md"
PREPARE, AS_CALLBACK, AROUND, ASK = [block for block in blocks(PAGE) if block.language == "sh"]


@pytest.mark.parametrize("block", [AS_CALLBACK, AROUND], ids=["callback", "around"])
async def test_the_example_answers_for_an_alias(block, tmp_path: Path) -> None:
    for name in ("config.yaml", "crplugins.yaml"):
        shutil.copy((CHECKOUT / PAGE).with_name(name), tmp_path)
    async with FakeProvider(models=["gpt-4o-mini"]) as provider:
        answer = await asyncio.to_thread(follow, block, provider.base_url, tmp_path)
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"]
    assert answer.json()["model"] == "fast"
    assert (tmp_path / "usage.db").exists()


def follow(block, provider: str, folder: Path) -> httpx.Response:
    """Start it as `block` says, and ask."""
    exported = {
        "OPENAI_API_BASE": provider,
        "METRICS_TOKEN": "scrape-token",
        "LITELLM_MASTER_KEY": "sk-master-01234567",
    }
    for words in commands(PREPARE):
        if words[0] == "export":
            exported = {**dict(re.findall(r"(\w+)=([\w.-]+)(?:\s|$)", " ".join(words[1:]))), **exported}
    port = str(free_port())
    [[*words]] = commands(block)
    while "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        exported[name] = value
    program, *arguments = [port if word == "4000" else word for word in words]
    quiet = {name: value for name, value in QUIET.items() if name != "LITELLM_LOG"}  # would hide that it is ready
    environ = environment_of(installs(PREPARE), folder, {**quiet, **exported})
    installed = Path(sys.executable).with_name(program)
    python = python_command(environ, imported=("litellm.proxy.proxy_server",))
    with running([*python, str(installed), *arguments], folder, environ, "Uvicorn running on"):
        [asked] = commands(ASK)
        return curl([word.replace("$TEAM_A_KEY", exported["TEAM_A_KEY"]) for word in asked], port)
