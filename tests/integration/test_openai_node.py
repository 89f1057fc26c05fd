"""The official Node SDK, from npm, against the gateway. Skipped, with the reason, where node or the registry is missing."""

import asyncio
import getpass
import json
import os
import shutil
import subprocess
import tempfile
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest

from crplugins.homes.gateway.app import Gateway
from crplugins.testing import FakeProvider, Script
from tests.gateway_setup import CLIENT_KEY

VERSION = "6.49.0"


@pytest.fixture(scope="module")
def node_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which Node finds the SDK. What npm installs is kept between runs, one folder for each user."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("node and npm are not installed")
    installed = Path(tempfile.gettempdir()) / f"crplugins-{getpass.getuser()}-openai-node-{VERSION}"
    if not installed.exists():
        install(installed)
    folder = tmp_path_factory.mktemp("node")
    (folder / "node_modules").symlink_to(installed / "node_modules")
    shutil.copy(Path(__file__).with_name("node_client.mjs"), folder)
    return folder


def install(folder: Path) -> None:
    """Beside it first, for it must never be seen half made: another test run may look for it just now."""
    making = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(making), f"openai@{VERSION}"]
    try:
        if subprocess.run(command, check=False).returncode:
            pytest.skip("npm could not install the SDK")
        with suppress(OSError):  # the other has been faster
            making.rename(folder)
    finally:
        shutil.rmtree(making, ignore_errors=True)


async def run(folder: Path, url: str) -> dict:
    environ = os.environ | {"BASE_URL": url + "/v1", "API_KEY": CLIENT_KEY}
    process = await asyncio.create_subprocess_exec(
        "node", str(folder / "node_client.mjs"), env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, errors.decode()
    return {name: seen for line in out.splitlines() for name, seen in json.loads(line).items()}


@pytest.mark.parametrize("handler", ["direct", "litellm"])
async def test_the_node_sdk_gets_what_it_expects(serve, node_folder, handler):
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(FakeProvider())
        provider.script("broken", Script(text="a b c d e", cut_after=3))
        params = {"api_base": provider.base_url, "api_key": "sk-up"}
        models = [
            {"model_name": name, "litellm_params": {"model": f"openai/{name}", **params}, "handler": handler}
            for name in ("m", "broken")
        ]
        url = await stack.enter_async_context(
            serve(Gateway(model_list=models, keys=[{"id": "k", "secret": CLIENT_KEY}]))
        )
        seen = await run(node_folder, url)
    assert seen["plain"].pop("id")
    assert seen == {
        "plain": {"text": "You said: hi", "usage": True},
        "stream": {"text": "You said: hi", "usage": 1},
        "helper": {"text": "You said: hi", "finish": "stop"},
        "tools": {"name": "get_weather", "arguments": "object"},
        "three": {"choices": 3},
        "refused": {"raised": "NotFoundError", "status": 404, "code": "model_not_found", "id": True},
        "forbidden": {"raised": "AuthenticationError", "status": 401, "code": "invalid_api_key", "id": True},
        "broken": {"raised": "APIError", "status": None, "code": "upstream_incomplete", "id": seen["broken"]["id"]},
    }
