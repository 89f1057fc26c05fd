"""What `crplugins serve` loads before it answers, with direct models and everything configured: modules and memory."""

import json
import subprocess
import sys

import pytest

CONFIG = """
model_list:
  - model_name: m
    litellm_params: {model: openai/m, api_base: "http://127.0.0.1:9/v1", api_key: sk-upstream}
    model_info: {input_cost_per_token: 1.5e-7, output_cost_per_token: 6.0e-7}
aliases: {fast: m}
keys:
  - {id: a, secret: sk-start-0123456789, limits: {requests_per_minute: 1000, tokens_per_minute: 100000}, budget: {usd: 10, period: day}}
ledger: {url: "sqlite:///usage.db"}
metrics: {path: /metrics, token: null}
"""

TOLD = """
import json, sys, uvicorn

started = uvicorn.Server.startup

async def startup(server, sockets=None):
    await started(server, sockets)
    with open("/proc/self/status") as file:
        memory = next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
    print("TOLD", json.dumps({"modules": [*sys.modules], "kilobytes": memory}))
    server.should_exit = True

uvicorn.Server.startup = startup
"""

SERVE = """
from crplugins.cli import main
sys.argv = ["crplugins", "serve", "--config", "gateway.yaml", "--port", "0"]
main()
"""

BARE = """
import aiohttp
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

uvicorn.run(Starlette(routes=[Route("/", lambda request: Response(""))]), port=0, log_level="warning")
"""

NOT_NEEDED = (
    # the tables of reports and of other commands; the other databases; the other handler; the migrations
    "rich", "pygments", "sqlalchemy", "aiosqlite", "alembic", "mako", "asyncpg", "redis", "hiredis", "litellm", "openai", "aiohttp",
    "httpx", "tiktoken", "ruamel", "jwt", "cryptography", "opentelemetry", "jsonschema", "genai_prices", "h11", "pytest",
)  # fmt: skip


def started(folder, program):
    """What a process says of itself when it has started."""
    command = [sys.executable, "-c", TOLD + program]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("TOLD "))
    return json.loads(line.removeprefix("TOLD "))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("start")
    (folder / "gateway.yaml").write_text(CONFIG)
    return folder


@pytest.fixture(scope="module", params=["a new ledger", "a ledger of before"])
def gateway(folder, request):
    assert (folder / "usage.db").exists() == (request.param == "a ledger of before")
    return started(folder, SERVE)


def test_a_start_loads_no_package_that_serving_does_not_need(gateway):
    assert not {name.partition(".")[0] for name in gateway["modules"]} & {*NOT_NEEDED}


def test_a_start_loads_no_command_but_serve(gateway):
    commands = {name for name in gateway["modules"] if name.startswith(("crplugins.cli.top", "crplugins.cli.keys"))}
    assert not commands & {"crplugins.cli.top.top", "crplugins.cli.keys.make", "crplugins.cli.usage"}
    assert not any(name.startswith("crplugins.ledger.reconcile") for name in gateway["modules"])


def test_the_number_of_modules_has_a_bound(gateway):
    """Each takes time and memory at every start. Raise a bound for what a start needs, and for nothing else: of other
    packages that is dear, and of our own what a file that is split in two costs."""
    ours = {name for name in gateway["modules"] if name.partition(".")[0] == "crplugins"}
    assert len({*gateway["modules"]} - ours) < 501
    assert len(ours) < 358


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_an_idle_gateway_takes_little_more_memory_than_a_bare_server_with_a_client(gateway, folder):
    """Starlette, uvicorn and aiohttp without any policy, in the same run."""
    assert gateway["kilobytes"] < 1.7 * started(folder, BARE)["kilobytes"]
