"""The admin API: keys over HTTP, behind a token of its own."""

import json
import logging
import re
from datetime import UTC, datetime, timedelta

import aiohttp
import jsonschema
import pytest

from crplugins.homes.gateway.admin import PUBLIC_PATHS, AdminApi
from crplugins.homes.gateway.app import Gateway
from crplugins.homes.gateway.openapi import admin_paths, with_admin
from crplugins.homes.gateway.web import Web
from crplugins.keys.file import FileKeys
from crplugins.keys.opening import open_store
from crplugins.keys.secrets import has_valid_checksum
from crplugins.keys.service import KeyService
from crplugins.schema import openapi_document
from crplugins.testing import FakeProvider
from tests.keys.conftest import what_may_block  # noqa: F401  # a fixture

TOKEN = "admin-token-0123456789"
ADMIN = {"authorization": f"Bearer {TOKEN}"}
ANN = {"authorization": "Bearer token-of-ann-0123456789"}
OPERATORS = {"token": TOKEN, "tokens": {"ann": "token-of-ann-0123456789"}}
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
SECRET = re.compile(r"sk-crp_[0-9A-Za-z]{49}")
DIGEST = re.compile(r"[0-9a-f]{64}")


@pytest.fixture(params=["file", "sql"])
def source(request, tmp_path):
    return {"file": {"file": str(tmp_path / "keys.yaml")}, "sql": {"sql": f"sqlite:///{tmp_path}/gw.db"}}[request.param]


@pytest.fixture
async def gateway(serve, source, caplog):
    """`await ask("GET", "/admin/keys", body, headers)` of a running gateway: status, body; no digest in any of them."""
    caplog.set_level(logging.INFO)
    async with open_store(source) as store:
        await KeyService(store).new({"id": "there"})
    async with FakeProvider() as provider:
        model = {"model": "openai/m", "api_base": provider.base_url, "api_key": "sk-up"}
        app = Gateway(model_list=[{"model_name": "m", "litellm_params": model}], keys=source, admin=OPERATORS)
        async with serve(app) as url, aiohttp.ClientSession() as session:

            async def ask(method, path, body=None, headers=ADMIN):
                async with session.request(method, url + path, json=body, headers=headers) as answer:
                    text = await answer.text()
                    assert not DIGEST.search(text)
                    assert answer.headers["x-request-id"]
                    ask.headers = answer.headers
                    return answer.status, json.loads(text)

            yield ask


async def chats(gateway, secret):
    """The status of a chat with this key."""
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    return (await gateway("POST", "/v1/chat/completions", body, {"authorization": f"Bearer {secret}"}))[0]


async def test_a_keys_whole_life(gateway, caplog):
    status, made = await gateway("POST", "/admin/keys", {"id": "team-a", "team": "search", "models": ["m"]})
    assert status == 201
    assert (made["id"], made["state"], made["team"], made["models"]) == ("team-a", "live", "search", ["m"])
    first = made["secret"]
    assert has_valid_checksum(first)
    assert await chats(gateway, first) == 200

    status, rotated = await gateway("POST", "/admin/keys/team-a/rotate", {"overlap_seconds": 3600})
    second = rotated["secret"]
    assert status == 200
    assert [bool(secret["not_after"]) for secret in rotated["secrets"]] == [True, False]
    assert [await chats(gateway, secret) for secret in (first, second)] == [200, 200]

    assert (await gateway("POST", "/admin/keys/team-a/disable", {"disabled": True}))[1]["state"] == "disabled"
    assert await chats(gateway, second) == 401
    assert (await gateway("POST", "/admin/keys/team-a/disable", {"disabled": False}))[1]["state"] == "live"
    assert await chats(gateway, second) == 200

    status, revoked = await gateway("POST", "/admin/keys/team-a/revoke")
    assert (status, revoked["state"]) == (200, "revoked")
    assert [await chats(gateway, secret) for secret in (first, second)] == [401, 401]  # at once
    assert [first in caplog.text, second in caplog.text, TOKEN in caplog.text] == [False, False, False]
    assert "the key 'team-a' is revoked" in caplog.text


async def test_keys_are_listed_and_shown_without_their_secrets(gateway):
    await gateway("POST", "/admin/keys", {"id": "team/a b", "budget": {"usd": 50, "period": "month"}})
    status, listed = await gateway("GET", "/admin/keys")
    assert (status, listed["object"]) == (200, "list")
    assert [key["id"] for key in listed["data"]] == ["team/a b", "there"]
    status, one = await gateway("GET", "/admin/keys/team/a%20b")
    assert (status, one) == (200, listed["data"][0])
    assert one["budget"] == {"usd": 50, "period": "month"}
    assert "secret" not in one
    assert not SECRET.search(json.dumps(listed))
    assert (await gateway("POST", "/admin/keys/team%2Fa%20b/revoke"))[1]["state"] == "revoked"


async def test_without_the_token_nothing_is_told_or_done(gateway):
    secret = (await gateway("POST", "/admin/keys", {"id": "team-a"}))[1]["secret"]
    for headers in ({}, {"authorization": f"Bearer {TOKEN}x"}, {"authorization": f"Bearer {secret}"},
                    {"authorization": "Bearer é"}, {"x-api-key": TOKEN[:-1]}):  # fmt: skip
        for method, path in (("GET", ""), ("POST", ""), ("GET", "/team-a"), ("POST", "/team-a/rotate"),
                             ("POST", "/team-a/revoke"), ("POST", "/team-a/disable"), ("PATCH", "/team-a"),
                             ("DELETE", "/team-a")):  # fmt: skip
            status, answer = await gateway(method, "/admin/keys" + path, None, headers)
            assert (status, answer["error"]["type"]) == (401, "invalid_request_error")
            assert TOKEN not in json.dumps(answer)
    assert (await gateway("GET", "/admin/keys/team-a"))[1]["state"] == "live"


async def test_the_token_opens_nothing_else(gateway):
    assert await chats(gateway, TOKEN) == 401
    for path in ("/v1/models", "/admin", "/admin/keysmith", "/admin/other"):
        assert (await gateway("GET", path))[0] == 401


@pytest.mark.parametrize(
    ("path", "body", "status", "param", "code", "message"),
    [
        ("", {"id": "there"}, 409, "id", "key_exists", "There is a key 'there' already."),
        ("", {}, 400, "id", "invalid_value", "'id' is missing."),
        ("", {"id": "b", "secret": "sk-mine"}, 400, "secret", "invalid_value", "'secret' cannot be given to a new key."),
        ("", {"id": "b", "limits": {"rpm": 1}}, 400, "limits.rpm", "invalid_value", None),
        ("", {"id": "b", "expires": "2020-01-01"}, 400, "expires", "invalid_value", "'expires' has passed already."),
        ("", [1], 400, None, None, None),
        ("/thera/rotate", {}, 404, None, "key_not_found", "There is no key 'thera', did you mean 'there'?"),
        ("/nothing/revoke", None, 404, None, "key_not_found", "There is no key 'nothing'."),
        ("/there/rotate", {"overlap_seconds": "24h"}, 400, "overlap_seconds", "invalid_value", None),
        ("/there/rotate", {"overlap_seconds": -1}, 400, "overlap_seconds", "invalid_value", None),
        ("/there/rotate", {"overlap_seconds": 1e300}, 400, "overlap_seconds", "invalid_value", None),
        ("/there/rotate", {"overlap": 1}, 400, "overlap", "invalid_value", "'overlap' is not known here."),
        ("/there/disable", {"disabled": "no"}, 400, "disabled", "invalid_value", "'disabled' must be true or false."),
        ("/there/revoke", {"now": True}, 400, "now", "invalid_value", None),
    ],
)  # fmt: skip
async def test_what_is_refused_is_told_in_openais_shape(gateway, path, body, status, param, code, message):
    got, answer = await gateway("POST", "/admin/keys" + path, body)
    error = answer["error"]
    assert (got, error["param"], error["code"]) == (status, param, code)
    assert message is None or error["message"] == message
    assert "sk-mine" not in json.dumps(answer)
    assert (await gateway("GET", "/admin/keys/there"))[1]["state"] == "live"


async def test_a_key_is_changed_in_what_is_given_and_counts_at_once(gateway, caplog):
    words = {
        "id": "team-a",
        "team": "search",
        "models": ["other"],
        "limits": {"requests_per_minute": 5, "tokens_per_day": 9},
        "budget": {"usd": 50, "period": "month", "shadow": True},
    }
    secret = (await gateway("POST", "/admin/keys", words))[1]["secret"]
    assert await chats(gateway, secret) == 404
    patch = {"models": ["m"], "limits": {"requests_per_minute": 50, "tokens_per_day": None}, "budget": {"usd": "12.5"}}
    status, key = await gateway("PATCH", "/admin/keys/team-a", patch)
    assert status == 200
    assert (key["team"], key["models"], key["limits"]) == ("search", ["m"], {"requests_per_minute": 50})
    assert key["budget"] == {"usd": 12.5, "period": "month", "shadow": True}
    assert await chats(gateway, secret) == 200
    assert (await gateway("GET", "/admin/keys/team-a"))[1] == key
    status, key = await gateway(
        "PATCH", "/admin/keys/team-a", {"expires": "2999-01-01", "limits": None, "budget": None}
    )
    assert (key["expires"], key["limits"], key["budget"]) == ("2999-01-01T00:00:00Z", {}, None)
    assert "the key 'team-a' is changed" in caplog.text


@pytest.mark.parametrize(
    ("path", "body", "status", "param", "message"),
    [
        ("/there", {"id": "other"}, 400, "id", "'id' cannot be changed."),
        ("/there", {"secret": "sk-mine"}, 400, "secret", "'secret' cannot be changed."),
        ("/there", {"limits": {"rpm": 1}}, 400, "limits.rpm", None),
        ("/there", {"limits": {"requests_per_minut": None}}, 400, "limits.requests_per_minut",
         "'limits.requests_per_minut' is not known here, did you mean 'requests_per_minute'?."),
        ("/there", {"limts": None}, 400, "limts", "'limts' is not known here, did you mean 'limits'?."),
        ("/there", {"limits": {"requests_per_minute": 0.5}}, 400, "limits.requests_per_minute", None),
        ("/there", {"limits": 5}, 400, "limits", None),
        ("/there", {"limits": {"burst": {"requests_per_minute": 5}}}, 400, "limits.burst.requests_per_minute", None),
        ("/there", {"budget": {"usd": 5}}, 400, "budget.period", None),
        ("/there", {"expires": "2020-01-01"}, 400, "expires", "'expires' has passed already."),
        ("/there", [1], 400, None, None),
        ("/thera", {"team": "x"}, 404, None, "There is no key 'thera', did you mean 'there'?"),
    ],
)  # fmt: skip
async def test_a_change_that_makes_no_key_is_refused_by_name_and_changes_nothing(
    gateway, path, body, status, param, message
):
    before = await gateway("GET", "/admin/keys/there")
    got, answer = await gateway("PATCH", "/admin/keys" + path, body)
    assert (got, answer["error"]["param"]) == (status, param)
    assert message is None or answer["error"]["message"] == message
    assert await gateway("GET", "/admin/keys/there") == before


async def test_a_deleted_key_is_refused_at_once_and_its_id_is_free(gateway):
    secret = (await gateway("POST", "/admin/keys", {"id": "team/a"}))[1]["secret"]
    assert await chats(gateway, secret) == 200
    assert await gateway("DELETE", "/admin/keys/team/a") == (
        200,
        {"id": "team/a", "object": "key.deleted", "deleted": True},
    )
    assert await chats(gateway, secret) == 401
    assert (await gateway("GET", "/admin/keys/team/a"))[0] == 404
    assert (await gateway("DELETE", "/admin/keys/team/a"))[1]["error"]["code"] == "key_not_found"
    assert [key["id"] for key in (await gateway("GET", "/admin/keys"))[1]["data"]] == ["there"]
    assert (await gateway("POST", "/admin/keys", {"id": "team/a"}))[0] == 201


async def test_a_change_of_a_version_that_is_not_the_present_one_is_412_and_changes_nothing(gateway):
    await gateway("GET", "/admin/keys/there")
    first = gateway.headers["etag"]
    assert (await gateway("PATCH", "/admin/keys/there", {"owner": "ann"}, ADMIN | {"if-match": first}))[0] == 200
    second = gateway.headers["etag"]
    for method, path, body in (
        ("PATCH", "", {"owner": "ben"}), ("DELETE", "", None), ("POST", "/rotate", None), ("POST", "/revoke", None),
        ("POST", "/disable", None),
    ):  # fmt: skip
        status, answer = await gateway(method, f"/admin/keys/there{path}", body, ADMIN | {"if-match": first})
        assert (status, answer["error"]["code"]) == (412, "key_changed")
        assert gateway.headers["etag"] == second
    status, key = await gateway("GET", "/admin/keys/there")
    assert (status, key["owner"], key["state"], len(key["secrets"])) == (200, "ann", "live", 1)
    assert gateway.headers["etag"] == second
    assert (await gateway("PATCH", "/admin/keys/there", {"team": "x"}))[
        0
    ] == 200  # without If-Match any version will do
    assert (await gateway("PATCH", "/admin/keys/there", {"team": "y"}, ADMIN | {"if-match": "*"}))[0] == 200
    await gateway("POST", "/admin/keys/there/rotate")
    tag = gateway.headers["etag"]
    assert (await gateway("DELETE", "/admin/keys/there", None, ADMIN | {"if-match": tag}))[0] == 200
    assert (await gateway("PATCH", "/admin/keys/there", {"team": "x"}, ADMIN | {"if-match": tag}))[0] == 404


async def test_who_changed_what_is_told_with_the_name_of_the_token(gateway):
    await gateway("PATCH", "/admin/keys/there", {"owner": "ann", "limits": {"requests_per_minute": 5}}, ANN)
    request_id = gateway.headers["x-request-id"]
    await gateway("PATCH", "/admin/keys/there", {"owner": None})
    status, body = await gateway("GET", "/admin/audit")
    assert (status, body["object"], body["has_more"]) == (200, "list", False)
    last, update, _by_the_command = body["data"]
    assert (last["actor"], last["before"], last["after"]) == ("admin", {"owner": "ann"}, {"owner": None})
    assert datetime.fromisoformat(update.pop("at")) <= datetime.now(UTC)
    assert update.pop("id")
    assert update == {
        "actor": "ann", "via": "admin_api", "action": "update", "key_id": "there", "request_id": request_id,
        "before": {"owner": None, "limits": None},
        "after": {"owner": "ann", "limits": {"requests_per_minute": 5}},
    }  # fmt: skip
    _, page = await gateway("GET", "/admin/audit?limit=1&actor=ann")
    assert ([entry["actor"] for entry in page["data"]], page["has_more"]) == (["ann"], False)
    _, page = await gateway("GET", "/admin/audit?limit=2&key=there&since=1h")
    assert (len(page["data"]), page["has_more"]) == (2, True)
    _, page = await gateway("GET", f"/admin/audit?after={page['data'][-1]['id']}")
    assert [entry["action"] for entry in page["data"]] == ["new"]


@pytest.mark.parametrize(
    ("query", "param"),
    [("limit=0", "limit"), ("limit=x", "limit"), ("limit=1001", "limit"), ("limit=" + "9" * 5000, "limit"),
     ("since=soon", "since"), ("id=1", "id"), ("key=a&key=b", "key")],
)  # fmt: skip
async def test_a_wrong_question_about_changes_is_refused_by_name(gateway, query, param):
    status, body = await gateway("GET", f"/admin/audit?{query}")
    assert (status, body["error"]["param"]) == (400, param)


async def test_a_body_too_large_is_413(gateway):
    status, answer = await gateway("POST", "/admin/keys", {"id": "b", "owner": "x" * 300_000})
    assert (status, answer["error"]["code"]) == (413, "request_too_large")


async def test_a_get_of_a_change_and_a_strange_path_are_openais_errors(gateway):
    assert (await gateway("GET", "/admin/keys/there/rotate"))[0] in (404, 405)
    status, answer = await gateway("PUT", "/admin/keys/there")
    assert (status, answer["error"]["type"]) == (405, "invalid_request_error")


async def test_it_is_off_by_default(serve):
    app = Gateway(keys=[{"id": "a", "secret": "sk-a"}])
    async with serve(app) as url, aiohttp.ClientSession() as session:
        for path in ("/admin/keys", "/admin/keys/a"):
            async with session.get(url + path, headers={"authorization": "Bearer sk-a"}) as answer:
                assert answer.status == 404
        async with session.get(url + "/openapi.json") as answer:
            assert not any("admin" in path for path in (await answer.json())["paths"])


async def test_keys_of_the_configuration_are_shown_and_not_changed(serve, tmp_path):
    inline = [{"id": "a", "secret": "sk-a", "team": "search"}]
    both = [{"keys": inline}, {"file": str(tmp_path / "keys.yaml")}]
    two = [{"file": str(tmp_path / "keys.yaml")}, {"file": str(tmp_path / "more.yaml")}]
    for name in ("keys.yaml", "more.yaml"):
        (tmp_path / name).write_text("keys: []\n")
    for keys, created, ids in ((inline, 409, ["a"]), (both, 201, ["a", "b"]), (two, 409, ["b"])):
        app = Gateway(keys=keys, admin={"token": TOKEN})
        async with serve(app) as url, aiohttp.ClientSession(url, headers=ADMIN) as session:
            async with session.post("/admin/keys", json={"id": "b"}) as answer:
                assert answer.status == created
            async with session.get("/admin/keys") as answer:
                assert [key["id"] for key in (await answer.json())["data"]] == ids
            if keys is not two:
                async with session.post("/admin/keys", json={"id": "a"}) as answer:
                    assert (answer.status, (await answer.json())["error"]["code"]) == (409, "key_fixed")
            async with session.patch("/admin/keys/a", json={"team": "x"}) as answer:
                assert (answer.status, (await answer.json())["error"]["code"]) == (409, "key_fixed")
            async with session.get("/admin/keys/a") as answer:
                assert answer.status == (404 if keys is two else 200)
            async with session.get("/admin/limits?key=a") as answer:
                assert answer.status == (404 if keys is two else 200)
            async with session.get("/admin/audit") as answer:
                assert len((await answer.json())["data"]) == len(ids) - ("a" in ids)


@pytest.mark.parametrize(
    "body",
    [
        b'{"id": "a", "id": "b"}',
        b'{"id": "a", "limits": {"tokens_per_minute": 1, "tokens_per_minute": 2}}',
        b'{"id": "a", "limits": {"tokens_per_minute": 1' + b"0" * 400 + b"}}",
        b'{"id": "a", "budget": {"usd": "1e99", "period": "day"}}',
        b'{"id": "a", "budget": {"usd": 1e13, "period": "day"}}',
    ],
)
async def test_what_readers_take_differently_or_nobody_can_reckon_with_makes_no_key(serve, tmp_path, body):
    (tmp_path / "keys.yaml").write_text("keys: []\n")
    app = Gateway(keys={"file": str(tmp_path / "keys.yaml")}, admin={"token": TOKEN})
    async with serve(app) as url, aiohttp.ClientSession(url, headers=ADMIN) as session:
        async with session.post("/admin/keys", data=body) as answer:
            assert answer.status == 400
        async with session.get("/admin/keys") as answer:
            assert (await answer.json())["data"] == []


def test_no_token_is_no_way_in(tmp_path):
    with pytest.raises(ValueError, match="must not be empty"):
        AdminApi(KeyService(FileKeys(tmp_path / "keys.yaml").store), {"admin": ""})


class Down:
    """A store that is unavailable."""

    digester = None

    def __getattr__(self, name):
        async def fail(*_args, **_options):
            from crplugins.keys.source import SourceUnavailable

            raise SourceUnavailable("sk-password@host")

        return fail


async def test_a_store_out_of_reach_is_503_and_a_broken_file_500(serve, tmp_path, caplog):
    (tmp_path / "keys.yaml").write_text("keys: {}")
    for store, expected in ((Down(), 503), (FileKeys(tmp_path / "keys.yaml").store, 500)):
        api = AdminApi(KeyService(store, now=lambda: NOW), {"admin": TOKEN})
        app = Web(lambda _: [], lambda: "ok", dict).app(api.routes())
        async with serve(app) as url, aiohttp.ClientSession() as session:
            async with session.get(url + "/admin/keys", headers=ADMIN) as answer:
                assert answer.status == expected
                assert "sk-password" not in await answer.text()
                assert "keys.yaml" not in await answer.text()
    assert "keys.yaml: there must be a list under 'keys:'" in caplog.text


async def test_the_clock_and_the_mint_are_arguments(tmp_path):
    service = KeyService(open_store(str(tmp_path / "keys.yaml")), now=lambda: NOW, mint=lambda: "sk-minted-0123456789")
    minted = await service.new({"id": "a"})
    assert (minted.key.created_at, minted.secret) == (NOW, "sk-minted-0123456789")
    assert "sk-minted" not in repr(minted)
    service = KeyService(service.store, now=lambda: NOW, mint=lambda: "sk-another-0123456789")
    assert (await service.rotate("a", timedelta(hours=1))).key.secrets[0].not_after == NOW + timedelta(hours=1)


async def test_it_is_described_in_the_openapi_document(gateway):
    _, document = await gateway("GET", "/openapi.json", None, {})
    await gateway("POST", "/admin/keys", {"id": "gone"})
    assert admin_paths().keys() <= document["paths"].keys()
    assert document["paths"]["/admin/keys"]["get"]["security"] == [{"admin": []}]
    assert document["components"]["securitySchemes"].keys() == {"key", "admin"}
    names = re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document))
    assert set(names) <= document["components"]["schemas"].keys()
    for name, answer in {
        "AdminKeyList": await gateway("GET", "/admin/keys"),
        "AdminKey": await gateway("GET", "/admin/keys/there"),
        "AdminDeletedKey": await gateway("DELETE", "/admin/keys/gone"),
        "AdminAuditList": await gateway("GET", "/admin/audit"),
        "AdminNewSecret": await gateway("POST", "/admin/keys/there/rotate"),
    }.items():
        schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        jsonschema.Draft202012Validator(schema).validate(answer[1])


def test_the_description_leaves_the_gateways_own_as_it_was():
    document = openapi_document(title="t", version="1")
    before = json.dumps(document)
    assert with_admin(document)["paths"].keys() == document["paths"].keys() | admin_paths().keys()
    assert json.dumps(document) == before


def test_the_paths_auth_must_leave_alone_are_these():
    assert PUBLIC_PATHS == ("/admin/keys", "/admin/keys/*", "/admin/audit")
