"""Sinks of a running gateway: over a reload, in its metrics, and as `check --online` tries them."""

import asyncio
import json
import subprocess

import httpx

from crplugins import Gateway
from crplugins.config import parse_config
from crplugins.testing import FakeProvider
from tests.ports import free_port
from tests.sinks.conftest import ids_at, until
from tests.warm import warm_crplugins

SECRET = "sk-sinks-of-test"
QUESTION = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def words(place, base, folder):
    params = {"model": "openai/up", "api_base": base, "api_key": "sk-up-of-test", "num_retries": 0}
    entry = {"model_name": "m", "litellm_params": params, "handler": "direct"}
    (kind,) = place.words
    sinks = {kind: {**place.words[kind], "spool": str(folder / "spool")}}
    return {"model_list": [entry], "keys": [{"id": "a", "secret": SECRET}], "metrics": {"token": None}, "sinks": sinks}


async def test_a_reload_goes_on_with_what_waits_and_metrics_tell_of_it(serve, place, tmp_path):
    async with FakeProvider() as provider:
        before = words(place, provider.base_url, tmp_path)
        gateway = Gateway(**before)
        async with serve(gateway) as url, httpx.AsyncClient(base_url=url, timeout=60) as client:

            async def ask():
                answer = await client.post(
                    "/v1/chat/completions", json=QUESTION, headers={"authorization": f"Bearer {SECRET}"}
                )
                return answer.headers["x-request-id"]

            async def metric(name):
                text = (await client.get("/metrics", params={"name[]": f"crplugins_sink_{name}"})).text
                return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if not line.startswith("#"))

            asked = [await ask()]
            await place.leave()
            asked.append(await ask())
            await gateway.reload(parse_config({**before, "aliases": {"fast": "m"}}))
            asked.append(await ask())
            assert await metric("pending_records") >= 2
            (kind,) = place.words
            moved = {kind: {**before["sinks"][kind], "spool": str(tmp_path / "another")}}
            await gateway.reload(parse_config({**before, "sinks": moved}))
            asked.append(await ask())
            await place.back()
            await until(lambda: not [*tmp_path.glob("spool.*.journal")])  # the earlier one has closed
            for _ in range(600):
                if not await metric("pending_records") and await metric("published_records_total"):
                    break
                await asyncio.sleep(0.1)
            assert await metric("published_records_total") > 0
            assert await metric("dropped_records_total") == 0
    async with serve(Gateway(**before)):
        for _ in range(600):
            if {*asked} <= await ids_at(place):
                break
            await asyncio.sleep(0.1)
    assert await ids_at(place) == {*asked}


async def test_check_online_tries_a_sink(place, tmp_path):
    (kind,) = place.words
    other = {
        "redis": {"kafka": {"bootstrap_servers": f"127.0.0.1:{free_port()}"}},
        "kafka": {"redis": {"url": f"redis://127.0.0.1:{free_port()}"}},
    }
    (tmp_path / "gateway.yaml").write_text(json.dumps({"sinks": {**place.words, **other[kind]}}))
    command = warm_crplugins("check", "--online", "--json")
    done = await asyncio.to_thread(subprocess.run, command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    rows = {row["what"]: row for row in json.loads(done.stdout)["online"] if row["what"].startswith("sinks.")}
    assert rows.pop(f"sinks.{kind}")["said"] == "it answers"
    ((_, failed),) = rows.items()
    assert not failed["ok"]
