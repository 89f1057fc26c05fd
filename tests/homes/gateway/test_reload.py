"""A gateway whose configuration is replaced while it serves, over real sockets."""

import asyncio
import gc
import os
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from crplugins import Gateway, Plugin
from crplugins.asgi.lifespan import FrozenAfterStartup
from crplugins.config import load_config, parse_config
from crplugins.homes.gateway.generation import Generation
from crplugins.homes.gateway.reloading import Reloaded, ReloadTurns
from crplugins.keys.file import FileKeys
from crplugins.testing import FakeProvider, Script
from tests.tls_setup import self_signed, tls_before

SECRET = "sk-reload-of-test"
QUESTION = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
ADMIN = "admin-token-of-test"


def words(base: str, **more: Any) -> dict[str, Any]:
    params = {"model": "openai/up", "api_base": base, "api_key": "sk-up-of-test", "num_retries": 0}
    entry = {"model_name": "m", "litellm_params": params, "handler": "direct"}
    keys = [{"id": "a", "secret": SECRET}]
    return {"model_list": [entry], "keys": keys, "metrics": {"token": None}, **more}


@asynccontextmanager
async def client(serve, gateway):
    async with serve(gateway) as url:
        headers = {"authorization": f"Bearer {SECRET}"}
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as session:
            yield session


async def ask(session: httpx.AsyncClient, **more: Any) -> httpx.Response:
    return await session.post("/v1/chat/completions", json={**QUESTION, **more})


async def metric(session: httpx.AsyncClient, name: str) -> float:
    text = (await session.get("/metrics", params={"name[]": name})).text
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if not line.startswith("#"))


async def test_what_comes_next_meets_the_new_configuration_and_what_was_used_stays_used(serve):
    async with FakeProvider() as provider:
        before = words(provider.base_url, limits={"per_key": {"requests_per_minute": 3}})
        gateway = Gateway(**before)
        async with client(serve, gateway) as session:
            assert [(await ask(session)).status_code for _ in range(2)] == [200, 200]
            changed = await gateway.reload(
                parse_config({**before, "limits": {"per_key": {"requests_per_minute": 4}}, "aliases": {"fast": "m"}})
            )
            answers = [await ask(session, model="fast") for _ in range(3)]
            counted = await metric(session, "crplugins_requests_total")
            connections = provider.connections_accepted
    assert changed.changes == ["aliases.fast: m (new)", "limits.per_key.requests_per_minute: 3 -> 4"]
    assert [each.status_code for each in answers] == [200, 200, 429]
    assert counted == 5
    assert connections == 1


async def test_a_stream_that_runs_ends_as_it_has_begun_and_its_configuration_with_it(serve):
    """The key of the stream is gone, its model is gone, and its plugin closes when it is over."""
    closed = asyncio.Event()

    class Own(Plugin):
        async def __aexit__(self, *_: object) -> None:
            closed.set()

    async with FakeProvider(default=Script(text="a b c d e f", frame_delay=0.03)) as provider:
        gateway = Gateway(**words(provider.base_url, plugins=[Own()]))
        other = words(provider.base_url, keys=[{"id": "b", "secret": "sk-other-of-test"}])
        other["model_list"][0]["model_name"] = "other"
        async with client(serve, gateway) as session:
            async with session.stream("POST", "/v1/chat/completions", json={**QUESTION, "stream": True}) as answer:
                lines = answer.aiter_lines()
                await anext(lines)
                await gateway.reload(parse_config(other))
                assert (await ask(session)).status_code == 401
                assert not closed.is_set()
                data = [line async for line in lines if line]
            await asyncio.wait_for(closed.wait(), 30)
            assert (await session.get("/readyz")).json()["status"] == "ok"
    assert data[-1] == "data: [DONE]"


async def test_what_is_known_of_a_deployment_outlives_the_configuration_if_it_stays_the_same(serve):
    """It cools down, and its breaker is not forgotten: the other one is asked."""
    async with FakeProvider() as ill, FakeProvider() as well:
        ill.enqueue(*[Script(status=503)] * 10)
        config = words(ill.base_url)
        config["model_list"][0]["litellm_params"]["order"] = 1
        config["model_list"] += words(well.base_url)["model_list"]
        gateway = Gateway(**config)
        async with client(serve, gateway) as session:
            for _ in range(3):
                assert (await ask(session)).status_code == 200
            asked = len(ill.requests)
            assert await metric(session, "crplugins_deployment_cooldowns_total") == 1
            await gateway.reload(parse_config({**config, "aliases": {"fast": "m"}}))
            assert (await ask(session)).status_code == 200
            assert len(ill.requests) == asked
            assert await metric(session, "crplugins_deployment_cooldowns_total") == 1
            config["model_list"][0]["litellm_params"]["timeout"] = 20
            await gateway.reload(parse_config(config))
            assert (await ask(session)).status_code == 200
            assert len(ill.requests) == asked + 1
            assert await metric(session, "crplugins_deployment_cooldowns_total") == 1


class Remembers(Plugin):
    """One's own plugin, with options and with a memory."""

    opened = 0

    def __init__(self, greeting: str = "hello") -> None:
        self.greeting = greeting
        self.seen = [0]

    def on_request(self, exchange) -> None:
        self.seen[0] += 1

    def on_response(self, exchange) -> None:
        exchange.response_headers.append((b"x-seen", f"{self.greeting} {self.seen[0]}".encode()))

    def take_over(self, previous) -> None:
        self.seen = previous.seen

    async def __aenter__(self):
        type(self).opened += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        type(self).opened -= 1


async def test_ones_own_plugin_is_kept_as_it_is_or_goes_on_with_what_it_knows(serve):
    path = f"{__name__}.Remembers"
    async with FakeProvider() as provider:
        config = words(provider.base_url, plugins=[path])
        gateway = Gateway(**config)
        async with client(serve, gateway) as session:
            said = [(await ask(session)).headers["x-seen"]]
            (kept,) = [each for each in gateway.plugins if each.name == "Remembers"]
            await gateway.reload(parse_config({**config, "aliases": {"fast": "m"}}))
            assert kept in gateway.plugins
            said.append((await ask(session)).headers["x-seen"])
            await gateway.reload(parse_config({**config, "plugins": [{"use": path, "greeting": "welcome"}]}))
            said.append((await ask(session)).headers["x-seen"])
            assert kept not in gateway.plugins
        assert said == ["hello 1", "hello 2", "welcome 3"]
        assert Remembers.opened == 0


class NeverOpens(Plugin):
    async def __aenter__(self):
        raise OSError("the key 'hunter2' fits no lock")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"keys": {"file": "/nowhere/keys.yaml"}}, "there is no such file"),
        ({"plugins": [f"{__name__}.NeverOpens"]}, "fits no lock"),
    ],
)
async def test_what_cannot_be_opened_changes_nothing(serve, change, said):
    async with FakeProvider() as provider:
        config = words(provider.base_url)
        gateway = Gateway(**config)
        async with client(serve, gateway) as session:
            assert (await ask(session)).status_code == 200
            with pytest.raises(Exception, match=said):
                await gateway.reload(parse_config({**config, "aliases": {"fast": "m"}, **change}))
            assert (await ask(session, model="fast")).status_code == 404
            assert (await ask(session)).status_code == 200
            await gateway.reload(parse_config({**config, "aliases": {"fast": "m"}}))  # nor is anything in the way
            assert (await ask(session, model="fast")).status_code == 200
        assert provider.connections_accepted == 1


async def test_reloads_that_are_asked_for_while_one_waits_are_that_one_and_none_overtakes_another():
    turns, reads, go_on = ReloadTurns(), [], asyncio.Event()

    def reload(why):
        async def read():
            reads.append(why)
            await go_on.wait()
            return Reloaded(changes=[why])

        return asyncio.create_task(turns.run(read))

    first = reload("first")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    others = [reload(f"other {number}") for number in range(1000)]
    await asyncio.sleep(0)
    others[0].cancel()
    go_on.set()
    assert (await first).changes == ["first"]
    done = await asyncio.gather(*others, return_exceptions=True)
    assert {tuple(each.changes) for each in done[1:]} == {("other 0",)}, "which goes on, though its own caller has left"
    assert reads == ["first", "other 0"]


async def test_a_mounted_gateway_that_nobody_has_opened_is_reloaded_too():
    async with FakeProvider() as provider:
        gateway = Gateway(**words(provider.base_url))
        await gateway.reload(parse_config(words(provider.base_url, aliases={"fast": "m"})))
        transport = httpx.ASGITransport(gateway)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as session:
            headers = {"authorization": f"Bearer {SECRET}"}
            answer = await session.post("/v1/chat/completions", json={**QUESTION, "model": "fast"}, headers=headers)
    assert answer.status_code == 200


@pytest.fixture
def operated(tmp_path, monkeypatch):
    """A file with an admin API, and what reads it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "keys.yaml").write_text(f"keys: [{{id: a, secret: {SECRET}}}]\n")
    file = tmp_path / "gateway.yaml"
    file.write_text(f"keys: {{file: keys.yaml}}\nadmin: {{token: {ADMIN}}}\nmetrics: {{token: null}}\n")
    return file


async def test_the_admin_api_reloads_the_file_and_says_what_changed_or_what_is_wrong(serve, operated, caplog):
    caplog.set_level("INFO", "crplugins.config")
    operator = {"authorization": f"Bearer {ADMIN}"}
    config = await asyncio.to_thread(load_config, operated)
    async with client(serve, Gateway.from_config(config)) as session:
        for headers in ({}, {"authorization": f"Bearer {SECRET}"}):
            assert (await session.post("/admin/reload", headers=headers)).status_code == 401
        text = operated.read_text()
        operated.write_text(text + "aliases: {fast: demo/echo}\nserver: {port: 4001, access_log: true}\n")
        answer = await session.post("/admin/reload", headers=operator)
        assert answer.status_code == 200
        assert answer.json()["needs_restart"] == ["server.port"]
        assert "aliases.fast: demo/echo (new)" in answer.json()["changes"]
        loaded_at = await metric(session, "crplugins_config_last_reload_success_timestamp_seconds")
        operated.write_text(text + "aliases: {fast: demo/echo}\nserver: {prot: 4001}\n")
        answer = await session.post("/admin/reload", headers=operator)
        assert answer.status_code == 422
        problem = f"{operated}, line 5: server.prot: unknown key, did you mean 'port'?"
        assert answer.json()["problems"] == [problem]
        assert (answer.json()["error"]["code"], problem in answer.json()["error"]["message"]) == (
            "invalid_configuration",
            True,
        )
        readyz = await session.get("/readyz")
        assert (readyz.status_code, readyz.json()["configuration"]["status"]) == (200, "reload_refused")
        assert "prot" not in readyz.text
        assert await metric(session, "crplugins_config_last_reload_successful") == 0
        assert await metric(session, "crplugins_config_last_reload_success_timestamp_seconds") == loaded_at
        assert (await ask(session, model="fast")).status_code == 200
        operated.write_text(text)
        assert (await session.post("/admin/reload", headers=operator)).status_code == 200
        assert (await session.get("/readyz")).json()["status"] == "ok"
        assert await metric(session, "crplugins_config_last_reload_successful") == 1
    logged = [record.message for record in caplog.records]
    assert f"the configuration stays as it was (POST /admin/reload by admin): {problem}" in logged
    assert "changed: aliases.fast: demo/echo (new)" in logged


def generations() -> list[Generation]:
    """All that are alive."""
    gc.collect()
    return [each for each in gc.get_objects() if isinstance(each, Generation)]


async def test_many_reloads_under_load_drop_nothing_and_leave_nothing_behind(serve):
    """Every answer is 200, nothing is opened that is not closed, and no generation outlives its requests."""
    others = generations()
    async with FakeProvider() as provider:
        config = words(provider.base_url)
        gateway = Gateway(**config)
        async with client(serve, gateway) as session:
            statuses: list[int] = []
            over = asyncio.Event()

            async def load(stream: bool) -> None:
                while not over.is_set():
                    answer = await ask(session, stream=stream)
                    statuses.append(answer.status_code)
                    if stream:
                        assert answer.text.rstrip().endswith("data: [DONE]")

            async with asyncio.TaskGroup() as running:
                for number in range(8):
                    running.create_task(load(stream=bool(number % 2)))
                tasks = 0
                for number in range(30):
                    await gateway.reload(parse_config({**config, "aliases": {f"fast-{number % 3}": "m"}}))
                    await asyncio.sleep(0.01)
                    tasks = max(tasks, len(asyncio.all_tasks())) if number > 5 else tasks
                over.set()
            counted = await metric(session, "crplugins_requests_total")
            assert set(statuses) == {200}
            assert counted == len(statuses)
            async with asyncio.timeout(60):  # the last ones are being closed
                while [each for each in generations() if each not in others] != [gateway._generation]:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            assert provider.connections_accepted <= 8


async def test_a_certificate_that_was_renewed_is_shown_from_the_next_reload_on(serve, tmp_path):
    certificate, old = str(self_signed(tmp_path)), self_signed(tmp_path, "client")
    shown, renewed = tmp_path / "shown.pem", self_signed(tmp_path, "renewed")
    shown.write_bytes(old.read_bytes())
    async with (
        FakeProvider() as provider,
        tls_before(int(provider.base_url.removesuffix("/v1").rpartition(":")[2]), certificate, str(renewed)) as port,
    ):
        config = words(f"https://localhost:{port}/v1")
        config["model_list"][0]["litellm_params"] |= {"ssl_verify": certificate, "ssl_certificate": str(shown)}
        gateway = Gateway(**config)
        async with client(serve, gateway) as session:
            assert (await ask(session)).status_code == 502
            shown.write_bytes(renewed.read_bytes())
            os.utime(shown, ns=(0, 1))
            await gateway.reload(parse_config(config))
            assert (await ask(session)).status_code == 200


async def test_of_several_sources_of_keys_those_that_stay_the_same_stay_open(serve, tmp_path, monkeypatch):
    """A chain in which one part changes, becomes alone, and is one of several again."""
    monkeypatch.chdir(tmp_path)
    await asyncio.to_thread(Path("keys.yaml").write_text, f"keys: [{{id: a, secret: {SECRET}}}]\n")
    opened = []
    enter = FileKeys.open

    async def counted(self):
        opened.append(self)
        await enter(self)

    monkeypatch.setattr(FileKeys, "open", counted)
    file, other = {"file": "keys.yaml"}, "sk-other-of-test"
    async with FakeProvider() as provider:
        gateway = Gateway(**words(provider.base_url, keys=[file, {"keys": [{"id": "b", "secret": other}]}]))
        async with client(serve, gateway) as session:
            for keys in ([{"keys": [{"id": "c", "secret": other}]}, file], file, [file, {"keys": []}]):
                await gateway.reload(parse_config(words(provider.base_url, keys=keys)))
                assert (await ask(session)).status_code == 200
                answer = await session.get("/v1/models", headers={"authorization": f"Bearer {other}"})
                assert answer.status_code == (401 if keys is file or keys[0] is file else 200)
    assert len(opened) == 1


async def test_under_a_server_of_ours_a_configuration_that_is_replaced_is_freed_soon(serve):
    """There nothing else collects what refers to itself for a minute."""
    async with FakeProvider() as provider:
        gateway = Gateway(**words(provider.base_url))
        frozen = FrozenAfterStartup(gateway)

        async def app(scope, receive, send):
            await frozen(scope, receive, send)

        async with client(serve, app) as session:
            await gateway.loaded()
            for number in range(5):
                await gateway.reload(parse_config(words(provider.base_url, aliases={f"a{number}": "m"})))
                assert (await ask(session)).status_code == 200
            for _ in range(3000):
                if sum(isinstance(each, Generation) for each in gc.get_objects()) == 1:
                    break
                await asyncio.sleep(0.01)
            else:
                pytest.fail("more than the present one is there")
    gc.unfreeze()
