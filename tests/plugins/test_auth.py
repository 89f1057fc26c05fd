import json

import pytest

from crplugins.core.middleware import PluginMiddleware
from crplugins.plugins.auth import Auth, InlineKey, masked
from crplugins.testing import drive

SECRET = "sk-right-0123456789abcdef"


async def app(scope, receive, send):
    key = scope["crplugins.exchange"].principal
    body = (key.key_id if key else "nobody").encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def guarded(**options):
    return PluginMiddleware(app, plugins=[Auth([InlineKey("team-a", SECRET), InlineKey("b", "My API Key")], **options)])


async def ask(authorization: str | None, method: str = "POST", path: str = "/v1/chat/completions", **options):
    headers = {} if authorization is None else {"authorization": authorization}
    return await drive(guarded(**options), method, path, headers=headers, forbid_body=True)


@pytest.mark.parametrize("header", [f"Bearer {SECRET}", f"bearer {SECRET}", f"Bearer   {SECRET} "])
async def test_a_known_key_gives_its_principal(header):
    answer = await ask(header)
    assert (answer.status, answer.body) == (200, b"team-a")


async def test_a_key_may_hold_spaces():
    assert (await ask("Bearer My API Key")).body == b"b"


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", f"Basic {SECRET}", SECRET])
async def test_no_bearer_key_is_openais_401_and_the_body_is_never_read(header):
    answer = await ask(header)
    assert answer.status == 401
    error = answer.json()["error"]
    assert error["message"].startswith(
        "You didn't provide an API key. You need to provide your API key in an Authorization"
    )
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", None, None)
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("secret", [SECRET + "x", SECRET[:-1], "sk-wrong", "é", "x" * 100_000])
async def test_a_wrong_key_is_openais_401_and_not_repeated(secret):
    answer = await ask(f"Bearer {secret}")
    assert answer.status == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"
    assert answer.json()["error"]["message"].startswith("Incorrect API key provided: ")
    assert secret not in json.dumps(answer.json(), ensure_ascii=False)


@pytest.mark.parametrize(
    ("secret", "shown"),
    [("sk-0123456789abcdefWXYZ", "sk-****WXYZ"), ("0123456789abcdefWXYZ", "****WXYZ"), ("short", "*****")],
)
def test_a_mask_shows_enough_to_recognise_and_too_little_to_use(secret, shown):
    assert masked(secret) == shown


async def test_every_path_is_guarded_but_the_public_ones():
    assert (await ask(None, "GET", "/anything")).status == 401
    assert (await ask(None, "GET", "/healthz")).status == 200
    assert (await ask(None, "GET", "/anything", public_paths=["/anything"])).status == 200


def test_no_secret_stands_in_any_repr():
    key = InlineKey("a", SECRET)
    assert SECRET not in repr(key) + repr(Auth([key])) + repr(vars(Auth([key])))
