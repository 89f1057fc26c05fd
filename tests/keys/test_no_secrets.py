"""No secret stands in anything the sources and stores say: logs at every level, errors, reprs, files."""

import logging
import traceback
from datetime import timedelta

import pytest

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.keys.opening import open_source, open_store
from crplugins.keys.secrets import Digester, mint_secret
from crplugins.keys.store import KeyExists
from crplugins.plugins.auth import Auth
from crplugins.testing import drive, lifespan
from tests.keys.conftest import NOW, make_key

PEPPER = "pepper-0123456789"
LIVE, NEXT, WRONG = mint_secret(), mint_secret(), mint_secret()


@pytest.fixture
def heard(caplog):
    caplog.set_level(logging.DEBUG)
    return caplog


def contents(folder):
    return "".join(path.read_bytes().decode("latin-1") for path in folder.rglob("*") if path.is_file())


@pytest.fixture(params=["yaml", "json", "sqlite", "postgres"])
def words(request, tmp_path):
    if request.param in ("yaml", "json"):
        path = tmp_path / f"keys.{request.param}"
        path.write_text('{"keys": []}')
        return {"file": str(path), "pepper": PEPPER}
    return {"sql": request.getfixturevalue(f"{request.param}_url"), "pepper": PEPPER}


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": repr(scope["crplugins.exchange"].principal).encode()})


async def test_a_life_of_a_key_leaves_no_trace_of_its_secret(words, heard, tmp_path):
    said = []
    async with open_store(words) as store:
        await store.add(make_key("team-a", LIVE, digester=store.digester))
        with pytest.raises(KeyExists) as caught:
            await store.add(make_key("team-b", LIVE, digester=store.digester))
        said += traceback.format_exception(caught.value)
        await store.rotate("team-a", store.digester.stored(NEXT, NOW), timedelta(days=36500), NOW)
        said += [repr(store), repr(await store.list())]
    auth = Auth(source := open_source(words))
    guarded = PluginMiddleware(app, plugins=[auth])
    async with lifespan(guarded):
        for secret, status in ((LIVE, 200), (NEXT, 200), (WRONG, 401), (WRONG[:-1], 401)):
            answer = await drive(guarded, headers={"authorization": f"Bearer {secret}"})
            assert answer.status == status
            said += [answer.body.decode(), repr(answer.headers)]
        said += [repr(auth), repr(vars(auth)), repr(source), repr(vars(source))]
    everything = "".join(said) + heard.text + contents(tmp_path)
    for secret in (LIVE, NEXT, WRONG, PEPPER):
        assert secret not in everything
        assert secret[:-4][-20:] not in everything
    for digest in (Digester(PEPPER).digest(WRONG), Digester().digest(LIVE), Digester().digest(NEXT)):
        assert digest.hex() not in everything
