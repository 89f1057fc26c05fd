"""Two gateways on one PostgreSQL, each a process of its own, over real sockets."""

import asyncio

import aiohttp
import pytest

from crplugins.keys.secrets import Digester, mint_secret
from crplugins.keys.sql import SqlStore
from tests.keys.conftest import NOW, make_key
from tests.warm import PYTHON

KNOWN, OTHER, THIRD = mint_secret(), mint_secret(), mint_secret()

SERVE = """
import asyncio, sys
import uvicorn
from crplugins.asgi.middleware import PluginMiddleware
from crplugins.keys.opening import open_source
from crplugins.plugins.auth import Auth

async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["crplugins.exchange"].principal.key_id.encode()})

guarded = PluginMiddleware(app, plugins=[Auth(open_source({"sql": sys.argv[1]}))])

class Server(uvicorn.Server):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        print(self.servers[0].sockets[0].getsockname()[1], flush=True)

Server(uvicorn.Config(guarded, port=0, lifespan="on", ws="none", log_level="debug")).run()
"""


class Gateways:
    """Processes, and what they answer and say."""

    def __init__(self, session):
        self.session, self.processes, self.ports = session, [], []

    async def start(self, url):
        process = await asyncio.create_subprocess_exec(
            *PYTHON.command, "-c", SERVE, url, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        self.processes.append(process)
        self.ports.append(int(await process.stdout.readline()))

    async def statuses(self, secret):
        """What each of them says to `secret`."""
        return [(await self.answer(port, secret))[0] for port in self.ports]

    async def answer(self, port, secret):
        headers = {"authorization": f"Bearer {secret}"}
        async with self.session.get(f"http://127.0.0.1:{port}/v1/models", headers=headers) as answer:
            return answer.status, answer.headers, await answer.text()

    async def stop(self):
        """Everything they said."""
        stopping, self.processes = self.processes, []
        for process in stopping:
            process.terminate()
        said = await asyncio.gather(*(process.communicate() for process in stopping))
        return "".join(err.decode() for _, err in said)


@pytest.fixture
async def gateways(postgres_url):
    async with aiohttp.ClientSession() as session:
        gateways = Gateways(session)
        await asyncio.gather(*(gateways.start(postgres_url) for _ in range(2)))
        yield gateways
        await gateways.stop()


async def until(condition):
    async with asyncio.timeout(60):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_revoked_key_is_refused_by_both(gateways, postgres_url):
    async with SqlStore(postgres_url) as console:
        await is_revoked_everywhere(gateways, console, "team-a", KNOWN)


async def is_revoked_everywhere(gateways, console, key_id, secret):
    """A new key: made, and revoked, and both gateways have followed both."""

    async def all_are(status):
        return set(await gateways.statuses(secret)) == {status}

    await console.add(make_key(key_id, secret))
    await until(lambda: all_are(200))
    await console.revoke(key_id, NOW)
    await until(lambda: all_are(401))


async def test_postgresql_stopped_mid_traffic_and_started_again(gateways, postgres, postgres_url):
    async with SqlStore(postgres_url) as console:
        await console.add(make_key("team-a", KNOWN))
        # A key that has changed in the last second is asked for once more, and an outage may come before that.
        await is_revoked_everywhere(gateways, console, "team-c", THIRD)
        assert await gateways.statuses(KNOWN) == [200, 200]
    traffic = asyncio.create_task(until_cancelled(lambda: gateways.statuses(KNOWN)))
    await asyncio.to_thread(postgres.stop)
    try:
        status, headers, text = await gateways.answer(gateways.ports[0], OTHER)
        assert (status, headers["retry-after"]) == (503, "2")
        assert '"type":"server_error"' in text
        assert await gateways.statuses(KNOWN) == [200, 200]
    finally:
        await asyncio.to_thread(postgres.start)
    async with SqlStore(postgres_url) as console:
        await console.add(make_key("team-b", OTHER))

    async def recovered():
        return await gateways.statuses(OTHER) == [200, 200]

    await until(recovered)
    traffic.cancel()
    assert set(await traffic) == {200}
    said = await gateways.stop()
    assert "known keys go on for 300 s, others get 503" in said
    for secret in (KNOWN, OTHER, Digester().digest(KNOWN).hex()):
        assert secret not in said


async def until_cancelled(ask):
    """Every status seen, until the task is cancelled."""
    seen = []
    try:
        while True:
            seen += await ask()
            await asyncio.sleep(0.01)
    except asyncio.CancelledError:
        return seen
