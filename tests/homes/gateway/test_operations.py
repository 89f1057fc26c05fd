"""What operators look at, over real sockets: what runs, what was refused, how deployments fare, and why."""

import asyncio
import json
import os
import time

import aiohttp
import jsonschema
import msgspec
import pytest

from crplugins.homes.gateway.app import Gateway
from crplugins.homes.gateway.operations import PUBLIC_PATHS
from crplugins.homes.gateway.worker_states import STALE_SECONDS, WorkerState, WorkerStates
from crplugins.plugins.activity import RunningRequest
from crplugins.testing import FakeProvider, Script
from tests.keys.conftest import what_may_block  # noqa: F401  # a fixture

TOKEN = {"authorization": "Bearer admin-token-0123456789"}
KEYS = """\
keys:
  - {id: team-a, secret: sk-team-a-0123456789, team: search, models: [m], limits: {requests_per_minute: 5}}
  - {id: other, secret: sk-other-0123456789}
"""
QUESTION = {"messages": [{"role": "user", "content": "a word nobody keeps"}]}


@pytest.fixture
async def gateway(serve, tmp_path):
    """`await ask(path)` with the admin token: status and body. `ask.chat(model)` is a chat of team-a."""
    (tmp_path / "keys.yaml").write_text(KEYS)
    async with FakeProvider() as provider, aiohttp.ClientSession() as session:
        upstream = {"model": "openai/up", "api_base": provider.base_url, "api_key": "sk-up", "num_retries": 0}
        app = Gateway(
            model_list=[{"model_name": "m", "litellm_params": upstream, "handler": "direct"}],
            keys={"file": str(tmp_path / "keys.yaml")},
            admin={"token": "admin-token-0123456789"},
        )
        async with serve(app) as url:

            async def ask(path, headers=TOKEN):
                async with session.get(url + path, headers=headers) as answer:
                    return answer.status, await answer.json()

            def chat(model="m", secret="sk-team-a-0123456789", **more):
                headers = {"authorization": f"Bearer {secret}"}
                return session.post(
                    url + "/v1/chat/completions", json={"model": model, **QUESTION, **more}, headers=headers
                )

            ask.chat, ask.provider = chat, provider
            yield ask


@pytest.mark.parametrize("path", PUBLIC_PATHS)
async def test_the_admin_token_is_needed_and_no_key_does(gateway, path):
    for headers in ({}, {"authorization": "Bearer sk-team-a-0123456789"}):
        status, body = await gateway(path, headers)
        assert status == 401
        assert "admin token" in body["error"]["message"]


async def test_a_stream_is_among_the_running_while_it_runs(gateway):
    gateway.provider.enqueue(Script(stall_after=3))
    async with gateway.chat(stream=True) as answer:
        await answer.content.readany()
        status, body = await gateway("/admin/live")
    (running,) = body["data"]
    assert (status, body["workers"]) == (200, 1)
    assert (running["key_id"], running["team"], running["model"], running["stream"]) == ("team-a", "search", "m", True)
    assert (running["provider"], running["attempts"]) == ("openai", 1)
    assert running["seconds"] >= running["first_token_seconds"] > 0
    assert "a word nobody keeps" not in json.dumps(body)
    async with asyncio.timeout(30):
        while (await gateway("/admin/live"))[1]["data"]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_what_was_refused_is_told_newest_first_with_its_reason_and_no_prompt(gateway):
    for model, more in (("nope", {}), ("m", {"temperature": 9})):
        async with gateway.chat(model, **more) as answer:
            assert answer.status in (404, 400)
    async with gateway.chat(secret="sk-wrong") as answer:
        assert answer.status == 401
    status, body = await gateway("/admin/refusals")
    assert status == 200
    told = [(each["key_id"], each["model"], each["status"], each["error_type"], each["param"]) for each in body["data"]]
    assert told == [
        (None, None, 401, "unauthenticated", None),
        ("team-a", "m", 400, "invalid_request", "temperature"),
        ("team-a", "nope", 404, "unknown_model", None),
    ]
    assert "a word nobody keeps" not in json.dumps(body)
    assert "sk-wrong" not in json.dumps(body)


async def test_deployments_are_told_with_their_health(gateway):
    gateway.provider.enqueue(*[Script(status=503)] * 20)
    for _ in range(4):
        async with gateway.chat() as answer:
            assert answer.status >= 500
    status, body = await gateway("/admin/deployments")
    (one,) = body["data"]
    assert (status, one["model"], one["running"]) == (200, "m", 0)
    assert one["healthy"] + one["cooling"] + one["trial"] == body["workers"] == 1


async def test_explain_has_the_steps_of_the_command_and_how_the_limits_stand(gateway):
    async with gateway.chat() as answer:
        assert answer.status == 200
    status, body = await gateway("/admin/explain?key=team-a&model=m")
    assert (status, body["served"]) == (200, True)
    assert [step["step"] for step in body["steps"]][:3] == ["key", "allow_list", "target"]
    (limit,) = body["limits"]["limits"]
    assert (limit["name"], limit["remaining"]) == ("requests_per_minute", 4)
    status, body = await gateway("/admin/explain?key=nobody&model=m")
    assert (status, body["served"], body["limits"]) == (200, False, None)


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("", "key"),
        ("?key=team-a", "model"),
        ("?key=&model=m", "key"),
        ("?key=a&key=b&model=m", "key"),
        ("?key=a&model=m&x=1", "x"),
    ],
)
async def test_a_question_that_is_none_is_400_and_names_the_parameter(gateway, query, param):
    status, body = await gateway("/admin/explain" + query)
    assert (status, body["error"]["param"]) == (400, param)


async def test_the_openapi_document_describes_what_is_answered(gateway):
    async with gateway.chat("nope") as answer:
        assert answer.status == 404
    _, document = await gateway("/openapi.json", {})
    for path in (*PUBLIC_PATHS[:3], "/admin/explain?key=team-a&model=m"):
        _, body = await gateway(path)
        operation = document["paths"][path.partition("?")[0]]["get"]
        assert operation["security"] == [{"admin": []}]
        schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
        jsonschema.validate(body, {**schema, "components": document["components"]})


async def test_without_admin_there_are_no_such_paths(serve):
    async with serve(Gateway(keys=[{"id": "k", "secret": "sk-web"}])) as url, aiohttp.ClientSession() as session:
        for path in PUBLIC_PATHS:
            async with session.get(url + path, headers={"authorization": "Bearer sk-web"}) as answer:
                assert answer.status == 404


def state(pid, *ids):
    running = [
        RunningRequest(f"r{each}", "k", None, "m", None, None, True, f"2026-01-01T00:00:0{each}Z", 1.0, None, 1)
        for each in ids
    ]
    return WorkerState(pid, running, [], [])


async def test_each_worker_tells_for_all_and_the_dead_are_left_out(tmp_path):
    other = tmp_path / f"activity_{os.getpid() + 1}.json"
    other.write_bytes(msgspec.json.encode(state(os.getpid() + 1, 2)))
    dead = tmp_path / "activity_7.json"
    dead.write_bytes(msgspec.json.encode(state(7, 3)))
    os.utime(dead, (time.time() - STALE_SECONDS - 1,) * 2)
    (tmp_path / "activity_8.json").write_bytes(b'{"pid": 8, "at"')
    async with WorkerStates(lambda: state(os.getpid(), 1), tmp_path) as states:
        async with asyncio.timeout(30):
            while not (written := tmp_path / f"activity_{os.getpid()}.json").exists():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert written.stat().st_mode & 0o777 == 0o600
        assert sorted(each.pid for each in await states.all()) == [os.getpid(), os.getpid() + 1]
        assert not dead.exists()
    assert not written.exists()


async def test_what_has_not_changed_is_dated_anew_and_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr("crplugins.homes.gateway.worker_states.WRITE_SECONDS", 0.01)
    written = tmp_path / f"activity_{os.getpid()}.json"
    async with WorkerStates(lambda: state(os.getpid(), 1), tmp_path):
        async with asyncio.timeout(30):
            while not written.exists():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            first = written.stat()
            while written.stat().st_mtime_ns == first.st_mtime_ns:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            assert written.stat().st_ino == first.st_ino
            written.unlink()
            while not written.exists():  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def test_a_process_alone_writes_nothing_and_tells_for_itself(tmp_path):
    async with WorkerStates(lambda: state(1, 1), None) as states:
        assert [each.pid for each in await states.all()] == [1]
    assert list(tmp_path.iterdir()) == []


async def test_an_answer_has_an_end(gateway, monkeypatch):
    monkeypatch.setattr("crplugins.homes.gateway.operations.MOST", 3)
    for _ in range(5):
        async with gateway.chat("nope") as answer:
            assert answer.status == 404
    assert len((await gateway("/admin/refusals"))[1]["data"]) == 3
