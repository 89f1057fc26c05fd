"""Shared state is not changed by a text that a client can influence: what one says or forges costs nobody else anything.

What each memory may be made to do stands in SECURITY.md. The rate at which a model hides tokens is learnt by each key for itself:
`tests/metering/test_silence.py`.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from crplugins import Gateway
from tests.attacks.house import (
    HANDLERS,
    KEY,
    KEYS,
    METRICS_TOKEN,
    Answer,
    Asked,
    Door,
    House,
    http,
    question,
    refusal,
    send,
    served,
)

MALLORY: Mapping[str, Any] = MappingProxyType({"user": "mallory", "stream": True})
USAGE = {"stream_options": {"include_usage": True}}


class Poison(NamedTuple):
    """A request of Mallory's, and what its provider says of it, if it `reaches` that."""

    more: Mapping[str, Any]
    message: str
    param: str | None = None
    status: str = "400 Bad Request"
    refuses: Callable[[dict[str, Any]], bool] = lambda body: True
    reaches: bool = True


def asks_usage(body: dict[str, Any]) -> bool:
    return "stream_options" in body


# How a refusal comes to speak of stream_options.
POISONS: dict[str, Poison] = {
    "a parameter whose name ends with it": Poison({"xstream_options": 1}, "Unrecognized request argument supplied: xstream_options"),
    "a parameter whose name begins with it": Poison({"stream_options_": 1}, "Unknown parameter: 'stream_options_'.", "stream_options_", reaches=False),
    "a parameter whose name begins with it, in other words": Poison({"stream_options_x": 1}, "Unknown parameter: 'stream_options_x'.", "stream_options_x"),
    "a parameter with a point in it": Poison({"x.stream_options": 1}, "Unknown parameter: 'x.stream_options'.", "x.stream_options"),
    "a value": Poison({"stop": "stream_options"}, "Invalid 'stop': 'stream_options' is not allowed."),
    "a value that makes the refusal": Poison({"stop": "stream_options"}, "stream_options is not supported", "stream_options"),
    "an unprocessable value": Poison({"stop": "stream_options"}, "stream_options: extra fields not permitted", status="422 Unprocessable Entity"),
    "an option of its own": Poison({"stream_options": {"include_usage": True, "x": 1}}, "stream_options.x: extra fields not permitted", "stream_options.x"),
    "a wrong type of it": Poison({"stream_options": {"include_usage": "yes"}}, "stream_options.include_usage is no boolean", "stream_options", reaches=False),
    "a parameter beside which it is refused": Poison({"logprobs": True}, "stream_options is not supported with logprobs", "stream_options", refuses=asks_usage),
    "many answers beside which it is refused": Poison({"n": 2}, "stream_options is not supported with n", "stream_options", refuses=asks_usage),
}  # fmt: skip


@pytest.mark.parametrize("handler", HANDLERS)
@pytest.mark.parametrize("name", POISONS)
def test_nobody_ends_the_metering_of_others(home: House, handler: str, name: str) -> None:
    door, poison = home.doors[handler], POISONS[name]

    def answer(asked: Asked) -> bytes | None:
        body = json.loads(asked.body)
        if body.get("user") != "mallory" or not poison.refuses(body):
            return None
        return refusal(poison.message, poison.status, param=poison.param, code=None)

    home.provider.answer = answer
    for _ in range(3):
        door.post(question(door.model, **{**MALLORY, **poison.more}))
    assert any(b"mallory" in asked.body for asked in home.provider.asked) == poison.reaches
    for more in ({}, USAGE):
        victims = door.post(question(door.model, stream=True, **more))
        assert json.loads(home.provider.asked[-1].body)["stream_options"] == {"include_usage": True}
        assert (b'"usage":{"' in victims.body.replace(b" ", b"")) == bool(more)


# How a provider fails Mallory's requests alone.
FAILURES = {
    "an error": refusal("no", "500 Internal Server Error"),
    "a limit of a day": refusal("slow down", "429 Too Many Requests", head=b"retry-after: 86400\r\n"),
    "a limit without end": refusal("slow down", "429 Too Many Requests", head=b"retry-after: 99999999999999999999\r\n"),
    "a rest in a date": refusal("later", "503 Service Unavailable", head=b"retry-after: Fri, 31 Dec 9999 23:59:59 GMT\r\n"),
    "a key that is refused": refusal("Incorrect API key", "401 Unauthorized"),
    "a spent quota": refusal("You exceeded your quota", "429 Too Many Requests", code="insufficient_quota"),
    "a model that is gone": refusal("The model does not exist", "404 Not Found", code="model_not_found"),
    "no answer": b"",
    "half an answer": b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n{",
}  # fmt: skip


@pytest.fixture(scope="module")
def doubled(opened: House) -> Mapping[str, Door]:
    """Doors to models with two deployments each, which cool down when they fail."""
    gateway = Gateway(model_list=served(opened.provider) * 2, keys=KEYS)
    gateway.resolve()
    port = opened.serve(gateway)
    opened.stage.run(gateway.loaded(), within=300)
    return {name: replace(opened.doors[name], port=port) for name in HANDLERS}


@pytest.mark.parametrize("deployments", [1, 2])
@pytest.mark.parametrize("handler", HANDLERS)
@pytest.mark.parametrize("name", FAILURES)
def test_nobody_takes_a_provider_from_others(
    home: House, doubled: Mapping[str, Door], deployments: int, handler: str, name: str
) -> None:
    door = (home.doors if deployments == 1 else doubled)[handler]
    home.provider.answer = lambda asked: FAILURES[name] if b"mallory" in asked.body else None
    assert {door.post(question(door.model, **MALLORY)).status for _ in range(3)}.isdisjoint({200})
    assert len(home.provider.asked) >= 3
    assert [door.post().status for _ in range(2)] == [200] * 2


FORGED = [
    KEY + "0", KEY[:-1], KEY.upper(), KEY[:-1] + "F", f"{KEY}\u200b", "sk-" + "0" * 300, "sk-crp_0123456789abcdef0123456789abcdef",
    "eyJhbGciOiJub25lIn0.eyJzdWIiOiJjbGllbnQifQ.", "client", KEY[3:],
]  # fmt: skip


def test_no_forged_secret_is_remembered_for_another_or_as_another(door: Door) -> None:
    def status(secret: str) -> int:
        return send(door.port, http(body=question(door.model), key=secret)).status

    for secret in FORGED:
        assert [status(secret), status(KEY), status(secret)] == [401, 200, 401]


class Issuer:
    """A key set over HTTP, and a gateway that takes its tokens."""

    def __init__(self, home: House) -> None:
        self.fetched = 0
        self._key, self._other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        url = home.stage.serve(Starlette(routes=[Route("/keys", self._keys)]))
        claims = {"issuer": "https://login.example.com/", "audience": "gateway", "jwks": f"{url}/keys"}
        upstream = {"model": "openai/served", "api_base": home.provider.base_url, "api_key": "sk-upstream-0123456789"}
        models: list[Any] = [{"model_name": "m", "litellm_params": upstream, "handler": "direct"}]
        self.port = home.serve(Gateway(model_list=models, keys={"jwt": {**claims, "algorithms": ["ES256"]}}))

    async def _keys(self, request: object) -> JSONResponse:
        self.fetched += 1
        return JSONResponse({"keys": [self.public("one")]})

    def public(self, kid: str, *, forged: bool = False) -> dict[str, Any]:
        key = (self._other if forged else self._key).public_key()
        return {**ECAlgorithm.to_jwk(key, as_dict=True), "kid": kid, "use": "sig"}

    def token(self, header: Mapping[str, Any], *, forged: bool = True, **claims: Any) -> str:
        claims = {"iss": "https://login.example.com/", "aud": "gateway", "sub": "ann", "exp": 4_000_000_000, **claims}
        return jwt.encode(claims, self._other if forged else self._key, "ES256", headers=dict(header))

    def ask(self, token: str) -> Answer:
        return send(self.port, http(key=token))


@pytest.fixture(scope="module")
def issuer(opened: House) -> Issuer:
    return Issuer(opened)


# The headers of forged tokens, the n-th each time another.
SIGNERS: dict[str, Callable[[int, str], dict[str, Any]]] = {
    "an invented signer": lambda n, url: {"kid": f"key-{n}"},
    "a signer that is a path": lambda n, url: {"kid": f"../../dev/null{n}"},
    "a signer that is an address": lambda n, url: {"kid": f"{url}/{n}"},
    "a signer that is a query": lambda n, url: {"kid": f"' or 1={n} --"},
    "an endless signer": lambda n, url: {"kid": "k" * 3000 + str(n)},
    "the known signer": lambda n, url: {"kid": "one"},
    "an address of keys": lambda n, url: {"kid": f"jku-{n}", "jku": f"{url}/{n}"},
    "an address of a certificate": lambda n, url: {"kid": f"x5u-{n}", "x5u": f"{url}/{n}"},
    "what must be understood": lambda n, url: {"kid": "one", "crit": ["exp"], "b64": False},
}  # fmt: skip


@pytest.mark.parametrize("name", SIGNERS)
def test_no_token_makes_the_gateway_fetch_more_often_or_elsewhere(home: House, issuer: Issuer, name: str) -> None:
    good = issuer.token({"kid": "one"}, forged=False)
    assert issuer.ask(good).status == 200
    fetched, asked = issuer.fetched, len(home.provider.asked)
    forged = [issuer.token(SIGNERS[name](number, home.provider.base_url)) for number in range(5)]
    assert {issuer.ask(token).status for token in forged} == {401}
    assert issuer.fetched <= fetched + 1
    assert len(home.provider.asked) == asked
    assert issuer.ask(good).status == 200


def test_a_key_inside_a_token_is_none(issuer: Issuer) -> None:
    for kid in ("one", "mine"):
        assert issuer.ask(issuer.token({"kid": kid, "jwk": issuer.public(kid, forged=True)})).status == 401


# What a client may invent, in the n-th request.
INVENTED: dict[str, Callable[[int], bytes]] = {
    "models": lambda n: http(body=question(f"invented-{n}")),
    "models behind a wildcard": lambda n: http(body=question(f"w/invented-{n}")),
    "aliases": lambda n: http(body=question(f"narrow-name/invented-{n}")),
    "users": lambda n: http(body=question(user=f"invented-{n}", safety_identifier=f"invented-{n}")),
    "sessions": lambda n: http(headers=b"x-session-id: invented-%d\r\n" % n),
    "tags": lambda n: http(body=question(metadata={f"invented-{n}": "x", "team": f"invented-{n}"})),
    "keys": lambda n: http(key=f"sk-invented-{n}-0123456789"),
    "parameters": lambda n: http(body=question(**{f"invented_{n}": 1})),
    "paths": lambda n: http(b"/v1/invented-%d" % n),
    "nearly chat paths": lambda n: http(b"/invented-%d/chat/completions" % n),
    "methods": lambda n: http(method=b"INVENTED%d" % n),
    "hosts": lambda n: http(headers=b"x-forwarded-host: invented-%d\r\nuser-agent: invented-%d\r\n" % (n, n)),
    "traces": lambda n: http(headers=b"traceparent: 00-%032x-%016x-01\r\nbaggage: invented=%d\r\n" % (n + 1, n + 1, n)),
    "request ids": lambda n: http(headers=b"x-request-id: invented-%d\r\n" % n),
}  # fmt: skip


def series(home: House) -> set[str]:
    page = send(home.doors["direct"].port, http(b"/metrics", b"", key=METRICS_TOKEN, method=b"GET"))
    assert page.status == 200
    return {line.rpartition(" ")[0] for line in page.body.decode().splitlines() if not line.startswith("#")}


@pytest.mark.parametrize("name", INVENTED)
def test_nobody_invents_a_series_of_the_metrics(home: House, name: str) -> None:
    port = home.doors["direct"].port
    send(port, INVENTED[name](0))
    before = series(home)
    for number in range(1, 6):
        send(port, INVENTED[name](number))
    found = series(home)
    assert found == before
    assert not any("invented" in each.lower() for each in found)


def test_invented_names_change_neither_what_a_name_leads_to_nor_who_may_use_it(home: House) -> None:
    door = home.doors["direct"]
    for number in range(12):
        for name in (f"narrow-name{number}", f"w/{number}", f"m{number}", "narrow-name/../w"):
            door.post(question(name))
    home.provider.asked.clear()
    assert door.post(question("narrow-name")).status == 200
    assert door.models_asked() == ["served"]
