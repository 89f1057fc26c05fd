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
import dataclasses, gc, json, re, ssl, sys, uvicorn

made = {"dataclasses": [], "patterns": [], "certificates": [], "collections": []}

def told_of(module, name, kind):
    real = getattr(module, name)
    def told(*arguments, **words):
        frame = sys._getframe(1)
        while frame.f_globals["__name__"].partition(".")[0] in ("re", "dataclasses", "typing", "functools"):
            frame = frame.f_back
        made[kind].append(frame.f_globals["__name__"])
        return real(*arguments, **words)
    setattr(module, name, told)

told_of(dataclasses, "_process_class", "dataclasses")
told_of(re._compiler, "compile", "patterns")
told_of(ssl, "create_default_context", "certificates")
told_of(gc, "collect", "collections")
started = uvicorn.Server.startup

async def startup(server, sockets=None):
    await started(server, sockets)
    with open("/proc/self/status") as file:
        memory = next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
    print("TOLD", json.dumps({"modules": [*sys.modules], "kilobytes": memory, **made}))
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
    # the tables of reports and of other commands; the other databases; the other handler; the migrations;
    "rich", "pygments", "sqlalchemy", "aiosqlite", "alembic", "mako", "asyncpg", "redis", "hiredis", "litellm", "openai", "aiohttp",
    "httpx", "tiktoken", "ruamel", "jwt", "cryptography", "opentelemetry", "jsonschema", "genai_prices", "h11", "pytest",
    # the first scrape; the first request that asks no model
    "prometheus_client", "starlette.routing", "starlette.requests", "starlette.responses", "starlette.middleware",
)  # fmt: skip


def started(folder, program):
    """What a process says of itself when it has started."""
    command = [sys.executable, "-c", TOLD + program]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("TOLD "))
    return json.loads(line.removeprefix("TOLD "))


def with_models(folder, count):
    """What a process has loaded that serves so many models."""
    entry = "\n  - {{model_name: m{0}, litellm_params: {{model: openai/m{0}, api_key: sk-upstream}}}}"
    models = "".join(entry.format(number) for number in range(count))
    (folder / "gateway.yaml").write_text(f"model_list:{models}\nkeys: [{{id: a, secret: sk-start-0123456789}}]\n")
    return {*started(folder, SERVE)["modules"]}


def ours(modules):
    return [name for name in modules if name.partition(".")[0] == "crplugins"]


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
    packages = {name.partition(".")[0] for name in gateway["modules"]}
    assert not {*packages, *gateway["modules"]} & {*NOT_NEEDED}


def test_a_start_loads_no_command_but_serve(gateway):
    commands = {name for name in gateway["modules"] if name.startswith(("crplugins.cli.top", "crplugins.cli.keys"))}
    assert not commands & {"crplugins.cli.top.top", "crplugins.cli.keys.make", "crplugins.cli.usage"}
    assert not any(name.startswith("crplugins.ledger.reconcile") for name in gateway["modules"])


def test_the_number_of_modules_has_a_bound(gateway):
    """Each takes time and memory at every start. Raise a bound for what a start needs, and for nothing else: of other
    packages that is dear, and of our own what a file that is split in two costs."""
    loaded = ours(gateway["modules"])
    assert len({*gateway["modules"]} - {*loaded}) < 440 + 10 * (sys.version_info >= (3, 14))  # of annotations and paths
    assert len(loaded) < 341


def test_what_takes_time_at_each_start_has_bounds(gateway):
    """A frozen dataclass takes 0.8 ms to define and a frozen struct 0.02; a pattern takes 0.1 to 2 ms, and can be
    compiled when an error or a form comes that it is for; to collect garbage takes 40 ms, and finds none."""
    assert len(ours(gateway["dataclasses"])) <= 2
    assert len(ours(gateway["patterns"])) < 76
    assert ours(gateway["collections"]) == []


def test_a_start_reads_no_certificates_where_no_upstream_speaks_tls(gateway):
    """They take 30 ms, whether they are the usual ones or a file that the environment names."""
    assert gateway["certificates"] == []


def test_a_start_with_many_models_loads_what_one_with_few_does(tmp_path):
    assert with_models(tmp_path, 2) == with_models(tmp_path, 200)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_an_idle_gateway_takes_little_more_memory_than_a_bare_server_with_a_client(gateway, folder):
    """Starlette, uvicorn and aiohttp without any policy, in the same run."""
    assert gateway["kilobytes"] < 1.5 * started(folder, BARE)["kilobytes"]
