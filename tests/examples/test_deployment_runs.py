# ruff: noqa: F811  # fixtures are parameters of the same name
"""What the deployment files describe, run: no rights, nothing to write to but what they declare, real Redis and PostgreSQL."""

import asyncio
import json
import shlex
import signal
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import aiohttp
import openai
import pytest

from crplugins.cli.startup_log import STARTING
from crplugins.testing import FakeProvider, Script
from tests.examples.confined import Confined, words_of
from tests.examples.deployment_files import (
    container,
    kubernetes_environment,
    pod,
    systemd_environment,
    unit,
)
from tests.postgresql_setup import postgres_url  # noqa: F401  # fixture
from tests.redis_setup import redis, redis_process  # noqa: F401  # fixtures

HELLO = [{"role": "user", "content": "hi"}]
SLOW = Script(text="one two three four five six seven eight", frame_delay=0.1)
KEY = ("keys", "new", "--id", "team-a", "--limit", "requests_per_day=50")
WITHIN_CHECKOUT = "/mnt/checkout/examples"


@pytest.fixture
async def provider():
    async with FakeProvider() as running:
        yield running


@pytest.fixture
def two_pods(tmp_path, redis, postgres_url, provider):
    """Where the containers of two pods run, each with a volume of its own."""
    socket = Path(parse_qs(urlsplit(postgres_url).query)["host"][0]) / ".s.PGSQL.5432"
    environment = kubernetes_environment() | {
        "CRPLUGINS_CONFIG": f"{WITHIN_CHECKOUT}/kubernetes/gateway.yaml",
        "OPENAI_BASE_URL": provider.base_url,
        "REDIS_URL": redis.url,
        "DATABASE_URL": f"postgresql://postgres:@{urlsplit(postgres_url).path}?host=/mnt/run",
    }
    return [Confined(tmp_path / name, environment, socket=socket) for name in ("pod-a", "pod-b")]


@pytest.fixture
def machine(tmp_path, provider):
    """Where the unit runs: its own folder, and a /tmp of its own."""
    environment = systemd_environment() | {"OPENAI_BASE_URL": provider.base_url}
    return Confined(tmp_path / "state", environment, temporary=tmp_path / "temporary")


def client(url, secret):
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=secret, max_retries=0)


async def status(url, path, **headers):
    async with aiohttp.ClientSession() as session, session.get(url + path, headers=headers) as response:
        await response.read()
        return response.status


async def remaining(ai):
    """Requests that the key has left."""
    answer = await ai.chat.completions.with_raw_response.create(model="gpt-4o-mini", messages=HELLO)
    return int(answer.headers["x-ratelimit-remaining-requests"])


@asynccontextmanager
async def streaming(ai):
    """A stream that has begun; what is left of it."""
    stream = await ai.chat.completions.create(
        model="gpt-4o-mini", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    await anext(stream)
    async with stream:
        yield stream


async def rest(stream):
    """The text and the usage of the chunks to come, the last one too."""
    chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert any(chunk.choices and chunk.choices[0].finish_reason == "stop" for chunk in chunks)
    return text, chunks[-1].usage


async def refuses_connections(url):
    """Once it does."""
    async with asyncio.timeout(60):
        while True:
            try:
                _, writer = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
            except ConnectionRefusedError:
                return
            writer.close()
            await asyncio.sleep(0.02)


async def usage(home):
    done = await home.run("usage", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


async def test_in_a_pod_one_folder_alone_can_be_written_to(two_pods):
    folders = "/ /tmp /var/tmp /var/lib /dev/shm /run /mnt /mnt/checkout /mnt/python ."
    tried = f"for folder in {folders}; do touch $folder/x 2>/dev/null && echo $folder; done; id -u"
    process = await asyncio.create_subprocess_exec(
        *two_pods[0].run_by("sh", "-c", tried), env=two_pods[0].variables, stdout=-1
    )
    out, _ = await process.communicate()
    assert out.split() == [b".", str(pod()["spec"]["securityContext"]["runAsUser"]).encode()]


async def test_two_pods_share_keys_limits_and_ledger_and_one_ends_while_it_streams(two_pods, provider):
    first, second = two_pods
    serve = words_of(container()["args"])
    async with first.serving(*serve) as a, second.serving(*serve) as b:
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert await status(a.url, container()[probe]["httpGet"]["path"]) == 200
        made = await first.run(*KEY)
        secret = made.stdout.splitlines()[-1]
        async with client(a.url, secret) as of_a, client(b.url, secret) as of_b:
            assert [await remaining(ai) for ai in (of_a, of_b, of_a)] == [49, 48, 47]
            provider.default = SLOW
            async with streaming(of_a) as stream:
                a.process.send_signal(signal.SIGTERM)
                await refuses_connections(a.url)
                text, used = await rest(stream)
            assert text.endswith("seven eight")
            assert used.completion_tokens > 0
            assert await a.ended(within=pod()["spec"]["terminationGracePeriodSeconds"]) == 0
            assert await remaining(of_b) == 45
        token = first.environment["METRICS_TOKEN"]
        assert [await status(b.url, "/metrics", **h) for h in ({}, {"authorization": f"Bearer {token}"})] == [401, 200]
        b.process.send_signal(signal.SIGTERM)
        assert await b.ended(within=60) == 0
    [line] = await usage(second)
    assert (line["key_id"], line["requests"]) == ("team-a", 5)
    assert not [file for home in two_pods for file in home.state.iterdir()]
    for serving in (a, b):
        lines = [json.loads(line) for line in serving.log.read_text().removeprefix(STARTING).splitlines()]
        odd = [line["message"] for line in lines if line["level"] != "INFO"]
        assert set(odd) <= {"a scrape without the token is refused"}, odd


async def test_the_unit_serves_with_its_workers_and_ends_while_it_streams(machine, provider):
    made = await machine.run(*KEY, "--source", "keys.yaml")
    secret = made.stdout.splitlines()[-1]
    words = shlex.split(unit()["Service"]["ExecStart"].replace("/etc/crplugins", f"{WITHIN_CHECKOUT}/systemd"))
    async with machine.serving(*words_of(words)) as gateway:
        async with client(gateway.url, secret) as one, client(gateway.url, secret) as another:
            assert {await remaining(ai) for ai in (one, another)} == {49, 48}
            provider.default = SLOW
            async with streaming(one) as stream:
                gateway.process.send_signal(signal.SIGTERM)
                await refuses_connections(gateway.url)
                text, _ = await rest(stream)
            assert text.endswith("seven eight")
            assert await gateway.ended(within=float(unit()["Service"]["TimeoutStopSec"])) == 0
    [line] = await usage_of_the_unit(machine)
    assert (line["key_id"], line["requests"]) == ("team-a", 3)
    assert {file.name.split("-")[0] for file in machine.state.iterdir()} == {
        ".keys.yaml.lock",
        "keys.audit.jsonl",
        "keys.yaml",
        "limits.db",
        "usage.db",
    }
    assert not list(machine.temporary.iterdir())
    assert "Traceback" not in gateway.log.read_text()


async def usage_of_the_unit(machine):
    done = await machine.run("usage", "--json", "--config", f"{WITHIN_CHECKOUT}/systemd/gateway.yaml")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
