"""JwtKeys: tokens of an identity provider."""

import asyncio
import base64
import hashlib
import hmac
import json
import logging
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from starlette.applications import Starlette
from starlette.responses import JSONResponse, RedirectResponse
from starlette.routing import Route

from crplugins.core.principal import Budget, Limits
from crplugins.keys.jwt import JwtKeys, JwtSettings, read_settings
from crplugins.keys.source import SecretRefused, SourceUnavailable
from crplugins.settings.errors import ConfigError
from crplugins.testing import FrozenClock
from tests.tls_setup import self_signed, tls_before

ISSUER = "https://login.example.com/"
EXPIRES = datetime(2030, 1, 1, tzinfo=UTC)
ONE, TWO = (rsa.generate_private_key(65537, 2048) for _ in range(2))
ELLIPTIC, EDWARDS = ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()
SETTINGS = JwtSettings(issuer=ISSUER, audience=("crplugins",), jwks="jwks.json", claims={"id": "sub"})


def jwk(private, kid, **fields):
    kind = {rsa.RSAPrivateKey: RSAAlgorithm, ec.EllipticCurvePrivateKey: ECAlgorithm}
    make = next((algorithm for of, algorithm in kind.items() if isinstance(private, of)), OKPAlgorithm)
    return make.to_jwk(private.public_key(), as_dict=True) | {"kid": kid} | fields


def sign(private=ONE, algorithm="RS256", headers=None, **claims):
    claims = {"iss": ISSUER, "aud": "crplugins", "sub": "ann", "exp": int(EXPIRES.timestamp())} | claims
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, private, algorithm, headers={"kid": "one"} if headers is None else headers)


class Provider:
    """An issuer's key set, and how often it was fetched. `down` makes it fail."""

    def __init__(self, *keys):
        self.keys, self.fetched, self.down = list(keys), 0, False

    async def __call__(self):
        self.fetched += 1
        if self.down:
            raise SourceUnavailable("the issuer's keys cannot be fetched (ConnectionRefusedError)")
        return json.dumps({"keys": self.keys}).encode()


async def never(seconds):
    await asyncio.get_running_loop().create_future()


def open_keys(provider=None, settings=SETTINGS, **options):
    return JwtKeys(settings, fetch=provider or Provider(jwk(ONE, "one")), **({"sleep": never} | options))


async def refusal(token, provider=None, settings=SETTINGS):
    async with open_keys(provider, settings) as keys:
        with pytest.raises(SecretRefused) as caught:
            await keys.find(token)
    assert not any(part in str(caught.value) for part in token.split(".") if part)
    return caught.value.reason


@pytest.mark.parametrize(
    ("private", "algorithm"),
    [(ONE, "RS256"), (ONE, "PS512"), (ELLIPTIC, "ES256"), (EDWARDS, "EdDSA")],
    ids=["RS256", "PS512", "ES256", "EdDSA"],
)
async def test_a_token_is_a_key_that_expires_with_it(private, algorithm):
    async with open_keys(Provider(jwk(private, "one"))) as keys:
        found = await keys.find(sign(private, algorithm, iat=1_700_000_000, nbf=1_700_000_000))
    assert found.key.id == "ann"
    assert found.key.expires == EXPIRES + timedelta(seconds=30)
    assert found.key.not_before == datetime.fromtimestamp(1_700_000_000 - 30, UTC)
    assert found.key.created_at == datetime.fromtimestamp(1_700_000_000, UTC)


async def test_claims_become_policy_and_defaults_fill_in():
    settings = read_settings(
        {
            "issuer": ISSUER,
            "audience": ["other", "crplugins"],
            "jwks": "x",
            "claims": {
                "id": "https://example.com/id",
                "team": "org.team",
                "models": "scope",
                "limits": {"requests_per_minute": "gateway.rpm", "tokens_per_day": "gateway.tpd"},
                "tags": "tags",
                "owner": "email",
            },
            "defaults": {"owner": "nobody", "budget": {"usd": 5, "period": "day"}},
        }
    )
    token = sign(
        **{"https://example.com/id": "ann-7"},
        org={"team": "search"},
        scope="gpt-4o* fast",
        gateway={"rpm": 60},
        tags={"a": "b"},
    )
    async with open_keys(settings=settings) as keys:
        principal = (await keys.find(token)).key.principal
    assert (principal.key_id, principal.team, principal.owner) == ("ann-7", "search", "nobody")
    assert (principal.models, principal.limits) == (("gpt-4o*", "fast"), Limits(requests_per_minute=60))
    assert (dict(principal.tags), principal.budget) == ({"a": "b"}, Budget(5_000_000, "day"))


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": None},
        {"sub": True},
        {"sub": {"name": "ann"}},
        {"sub": ["ann", "bob"]},
        {"sub": 7.5},
        {"sub": ""},
        {"sub": float("nan")},
        {"exp": "soon"},
        {"exp": True},
        {"exp": float("nan")},
        {"exp": "1e400"},
        {"exp": 10**30},
        {"exp": 1_893_456_000_000},
        {"nbf": {}},
        {"nbf": [1]},
        {"exp": 1e300},
        {"models": "x", "rpm": "many"},
        {"rpm": -1},
    ],
)
async def test_claims_that_do_not_fit_are_refused_and_named_in_the_log(claims, caplog):
    settings = SETTINGS.model_copy(update={"claims": {"id": "sub", "limits": {"requests_per_minute": "rpm"}}})
    assert await refusal(sign(**claims), settings=settings) == "invalid_token"
    assert "claims" in caplog.text
    assert "ann" not in caplog.text


async def test_an_expired_token_is_a_key_that_has_expired():
    async with open_keys() as keys:
        found = await keys.find(sign(exp=1_700_000_000))
    assert found.key.expires == datetime.fromtimestamp(1_700_000_030, UTC)


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"exp": None}, "invalid_token"),
        ({"iss": "https://login.evil.com/"}, "wrong_issuer"),
        ({"iss": ISSUER.rstrip("/")}, "wrong_issuer"),
        ({"iss": None}, "wrong_issuer"),
        ({"aud": "another"}, "wrong_audience"),
        ({"aud": ["another", "third"]}, "wrong_audience"),
        ({"aud": None}, "wrong_audience"),
    ],
)
async def test_a_token_for_somebody_else_is_refused(claims, reason):
    assert await refusal(sign(**claims)) == reason


async def test_without_an_audience_any_token_of_the_issuer_is_good():
    async with open_keys(settings=SETTINGS.model_copy(update={"audience": None})) as keys:
        assert await keys.find(sign(aud=None))
        assert await keys.find(sign(aud="another"))


def encoded(value):
    return (
        base64.urlsafe_b64encode(value if isinstance(value, bytes) else json.dumps(value).encode())
        .rstrip(b"=")
        .decode()
    )


def by_hand(header, key=None):
    """A token that no library would make."""
    signed = encoded(header) + "." + encoded({"iss": ISSUER, "aud": "crplugins", "sub": "ann", "exp": 4_000_000_000})
    return signed + "." + (encoded(hmac.digest(key, signed.encode(), hashlib.sha256)) if key is not None else "")


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE", ""])
@pytest.mark.parametrize("algorithms", [SETTINGS.algorithms, ("none", "RS256")])
async def test_a_token_without_a_signature_is_refused_even_if_somebody_allowed_it(name, algorithms):
    settings = SETTINGS.model_copy(update={"algorithms": algorithms})
    for headers in ({"kid": "one"}, {}):
        with pytest.raises(SecretRefused):
            async with open_keys(settings=settings) as keys:
                await keys.find(by_hand({"alg": name, "typ": "JWT"} | headers))


@pytest.mark.parametrize("algorithms", [SETTINGS.algorithms, ("HS256", "RS256")])
async def test_the_public_key_is_no_shared_secret_even_if_somebody_allowed_it(algorithms):
    settings = SETTINGS.model_copy(update={"algorithms": algorithms})
    public = ONE.public_key()
    modulus = base64.urlsafe_b64decode(jwk(ONE, "one")["n"] + "==")
    for key in (
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.PEM, PublicFormat.PKCS1),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(jwk(ONE, "one")).encode(),
        modulus,
        b"",
    ):
        with pytest.raises(SecretRefused):
            async with open_keys(settings=settings) as keys:
                await keys.find(by_hand({"alg": "HS256", "typ": "JWT", "kid": "one"}, key))


async def test_a_shared_secret_in_the_key_set_is_no_key():
    oct_key = {"kty": "oct", "k": encoded(b"x" * 32), "kid": "one", "alg": "HS256"}
    settings = SETTINGS.model_copy(update={"algorithms": ("HS256",)})
    with pytest.raises(SecretRefused):
        async with open_keys(Provider(oct_key), settings) as keys:
            await keys.find(by_hand({"alg": "HS256", "kid": "one"}, b"x" * 32))


async def test_a_key_is_used_only_for_what_it_is_for():
    for fields in ({"alg": "RS512"}, {"use": "enc"}, {"key_ops": ["encrypt"]}):
        assert await refusal(sign(), Provider(jwk(ONE, "one", **fields))) == "unknown_signer"
    assert await refusal(sign(ELLIPTIC, "ES256"), Provider(jwk(ONE, "one"))) == "unknown_signer"


async def test_a_bad_signature_or_changed_claims_are_refused():
    header, claims, signature = sign().split(".")
    assert await refusal(sign(TWO)) == "invalid_token"
    assert (
        await refusal(f"{header}.{encoded({'iss': ISSUER, 'aud': 'crplugins', 'sub': 'root', 'exp': 4e9})}.{signature}")
        == "invalid_token"
    )
    assert await refusal(f"{header}.{claims}.") == "invalid_token"


@pytest.mark.parametrize(
    "token",
    [
        "eyJ.eyJ.x",
        "eyJhbGciOiJSUzI1NiJ9.!.x",
        "eyJ" + "A" * 50_000 + "..",
        encoded({"alg": "RS256", "kid": ["one"]}) + "." + encoded({"iss": ISSUER}) + ".x",
        encoded({"alg": ["RS256"]}) + "." + encoded({"iss": ISSUER}) + ".x",
        encoded({"a": 1}) + "." + encoded(b"[" * 100_000) + ".x",
    ],
)
async def test_what_only_looks_like_a_token_is_refused(token):
    with pytest.raises(SecretRefused):
        async with open_keys() as keys:
            await keys.find(token)


@pytest.mark.parametrize("secret", ["sk-abc", "", "a.b.c", "eyJabc"])
async def test_what_is_no_token_is_left_to_others(secret):
    async with open_keys() as keys:
        assert await keys.find(secret) is None


@pytest.mark.parametrize(
    ("names", "headers"),
    [(("one", "two"), {}), (("one", "one"), {"kid": "one"})],
    ids=["without a kid", "one kid twice"],
)
async def test_each_key_that_a_token_may_mean_is_tried(names, headers):
    """An issuer that names no keys, or all of them alike, publishes two while it changes from one to the next."""
    private = [ec.generate_private_key(ec.SECP384R1()), ELLIPTIC, ec.generate_private_key(ec.SECP256R1())]
    provider = Provider(jwk(ONE, names[0]), jwk(TWO, names[1]), *(jwk(key, names[0]) for key in private[:2]))
    async with open_keys(provider) as keys:
        for key, algorithm in ((ONE, "RS256"), (TWO, "RS256"), (ELLIPTIC, "ES256")):
            assert (await keys.find(sign(key, algorithm, headers=headers))).key.id == "ann"
    assert await refusal(sign(private[2], "ES256", headers=headers), provider) == "invalid_token"
    assert await refusal(sign(TWO, headers=headers, aud="other"), provider) == "wrong_audience"


async def test_a_token_is_not_compared_with_any_number_of_keys():
    provider = Provider(*(jwk(ONE, f"key-{number}") for number in range(9)))
    assert await refusal(sign(headers={}), provider) == "unknown_signer"
    async with open_keys(Provider(*provider.keys[:8])) as keys:
        assert await keys.find(sign(headers={}))


@pytest.mark.parametrize("name", ["use", "alg", "key_ops", "kid"])
async def test_what_is_null_in_a_key_is_not_said(name):
    async with open_keys(Provider(jwk(ONE, "one") | {name: None})) as keys:
        assert await keys.find(sign(headers={} if name == "kid" else None))


async def test_an_unknown_kid_fetches_the_keys_again_but_not_for_everyone_who_asks():
    provider = Provider(jwk(ONE, "one"))
    async with open_keys(provider, clock=(clock := FrozenClock())) as keys:
        for _ in range(3):
            with pytest.raises(SecretRefused) as caught:
                await keys.find(sign(TWO, headers={"kid": "two"}))
            assert caught.value.reason == "unknown_signer"
        assert provider.fetched == 1
        provider.keys.append(jwk(TWO, "two"))
        clock.advance(5)
        assert (await keys.find(sign(TWO, headers={"kid": "two"}))).key.id == "ann"
        assert provider.fetched == 2


async def test_a_token_of_a_withdrawn_key_is_refused_though_it_was_good_before():
    provider = Provider(jwk(ONE, "one"))
    token = sign()
    async with open_keys(provider) as keys:
        first = await keys.find(token)
        assert await keys.find(token) is first
        await keys.refresh()  # the same keys: what is known stays
        assert await keys.find(token) is first
        provider.keys = [jwk(TWO, "two")]
        await keys.refresh()
        with pytest.raises(SecretRefused) as caught:
            await keys.find(token)
    assert caught.value.reason == "unknown_signer"


async def test_the_issuer_out_of_reach_is_no_reason_to_refuse(caplog):
    provider = Provider(jwk(ONE, "one"))
    provider.down = True
    async with open_keys(provider, clock=(clock := FrozenClock())) as keys:
        with pytest.raises(SourceUnavailable):
            await keys.find(sign())
        provider.down = False
        clock.advance(5)
        assert await keys.find(sign())
        provider.down = True
        clock.advance(5)
        assert await keys.find(sign(sub="bob"))  # a known signer
        with pytest.raises(SourceUnavailable):
            await keys.find(sign(TWO, headers={"kid": "two"}))
        await keys.refresh()
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING, logging.ERROR]


async def test_many_unknown_tokens_at_once_make_one_fetch():
    provider = Provider(jwk(ONE, "one"))
    async with open_keys(provider, clock=(clock := FrozenClock())) as keys:
        clock.advance(5)
        provider.keys = [jwk(TWO, "two")]
        found = await asyncio.gather(*(keys.find(sign(TWO, headers={"kid": "two"}, sub=f"u{n}")) for n in range(10)))
        assert [each.key.id for each in found] == [f"u{n}" for n in range(10)]
        assert provider.fetched == 2


async def test_the_keys_come_through_the_proxy_of_the_environment(serve, monkeypatch):
    asked = []

    async def proxy(scope, receive, send):
        if scope["type"] == "http":
            asked.append(dict(scope["headers"])[b"host"])
            await JSONResponse({"keys": [jwk(ONE, "one")]})(scope, receive, send)

    async with serve(proxy) as url:
        monkeypatch.setenv("HTTP_PROXY", url)
        monkeypatch.setenv("NO_PROXY", "other.example")
        async with JwtKeys(SETTINGS.model_copy(update={"jwks": "http://only.there.example/x"}), sleep=never) as keys:
            assert await keys.find(sign())
        monkeypatch.setenv("HTTP_PROXY", "socks5://h")
        async with JwtKeys(SETTINGS.model_copy(update={"jwks": "http://only.there.example/x"}), sleep=never) as keys:
            with pytest.raises(SourceUnavailable, match="HTTP_PROXY must be"):
                await keys.find(sign())
    assert asked == [b"only.there.example"]


async def test_the_keys_come_from_a_url(serve):
    answers = [
        JSONResponse({"keys": [jwk(ONE, "one")]}),
        JSONResponse({"keys": []}, 500),
        JSONResponse({"keys": "x"}),
        JSONResponse(["x" * 2_000_000]),
    ]

    async def endpoint(request):
        return answers.pop(0)

    async with serve(Starlette(routes=[Route("/jwks.json", endpoint)])) as url:
        keys = JwtKeys(SETTINGS.model_copy(update={"jwks": f"{url}/jwks.json"}), sleep=never)
        async with keys:
            assert await keys.find(sign())
            for problem in ("status 500", "not a JWKS document", "larger than"):
                await keys.refresh()
                assert problem in keys._issuer._problem
            assert await keys.find(sign(sub="bob"))
    async with keys:
        assert "cannot be fetched" in keys._issuer._problem


@pytest.mark.parametrize("media_type", ["application/jwk-set+json", "application/json", "application/octet-stream"])
async def test_keys_of_whatever_media_type_an_issuer_has_are_accepted(serve, media_type):
    """Kubernetes has key sets as `application/jwk-set+json` alone, and 406 for who accepts other JSON."""

    async def endpoint(request):
        ranges = [each.partition(";")[0].strip() for each in request.headers["accept"].split(",")]
        status = 200 if {media_type, "*/*"} & set(ranges) else 406
        return JSONResponse({"keys": [jwk(ONE, "one")]}, status, media_type=media_type)

    async with serve(Starlette(routes=[Route("/openid/v1/jwks", endpoint)])) as url:
        async with JwtKeys(SETTINGS.model_copy(update={"jwks": f"{url}/openid/v1/jwks"}), sleep=never) as keys:
            assert await keys.find(sign())


async def test_keys_that_are_said_to_be_at_an_address_without_tls_are_none(serve, tmp_path, monkeypatch):
    """Whoever is between us and that address would sign the tokens."""
    pem = self_signed(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    app = Starlette(
        routes=[
            Route("/moved", lambda _: RedirectResponse("/jwks.json")),
            Route("/without", lambda _: RedirectResponse(f"{url}/jwks.json")),
            Route("/back", lambda _: RedirectResponse(f"{url}/moved-back")),
            Route("/moved-back", lambda _: RedirectResponse(f"https://localhost:{port}/jwks.json")),
            Route("/jwks.json", lambda _: JSONResponse({"keys": [jwk(ONE, "one")]})),
        ]
    )
    async with serve(app) as url, tls_before(int(url.rpartition(":")[2]), pem) as port:
        for path, good in (("jwks.json", True), ("moved", True), ("without", False), ("back", False)):
            settings = SETTINGS.model_copy(update={"jwks": f"https://localhost:{port}/{path}"})
            async with JwtKeys(settings, sleep=never) as keys:
                if good:
                    assert (await keys.find(sign())).key.id == "ann"
                else:
                    with pytest.raises(SourceUnavailable, match="without TLS"):
                        await keys.find(sign())


async def test_the_keys_come_from_a_file(tmp_path):
    path = tmp_path / "jwks.json"
    keys = JwtKeys(
        SETTINGS.model_copy(update={"jwks": str(path)}),
        clock=(clock := FrozenClock()),
        sleep=never,
    )
    async with keys:
        with pytest.raises(SourceUnavailable, match="jwks.json cannot be read"):
            await keys.find(sign())
        path.write_text(json.dumps({"keys": [jwk(ONE, "one")]}))
        clock.advance(5)
        assert await keys.find(sign())


async def test_the_keys_are_fetched_again_every_so_often():
    slept, go = [], asyncio.Event()

    async def sleep(seconds):
        slept.append(seconds)
        await go.wait()
        go.clear()

    provider = Provider(jwk(ONE, "one"))
    async with open_keys(provider, sleep=sleep):
        go.set()
        while len(slept) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert (slept[0], provider.fetched) == (300, 2)


async def test_the_cache_is_bounded(monkeypatch):
    monkeypatch.setattr("crplugins.keys.jwt.source.CACHE_SIZE", 2)
    async with open_keys() as keys:
        for n in range(4):
            await keys.find(sign(sub=f"u{n}"))
        assert len(keys._cache) == 2


GOOD = {"issuer": ISSUER, "audience": "crplugins", "jwks": "jwks.json"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"issuer": None}, "jwt.issuer: is missing"),
        ({"audience": []}, "jwt.audience: must not be empty"),
        ({"algorithms": ["HS256"]}, "jwt.algorithms: must be some of RS256"),
        ({"algorithms": ["none"]}, "jwt.algorithms: must be some of RS256"),
        ({"algorithms": []}, "jwt.algorithms: must be some of RS256"),
        ({"leeway_seconds": -1}, "jwt.leeway_seconds: must be a number of seconds"),
        ({"claims": {"name": "sub"}}, "jwt.claims: 'name' is no field of a key"),
        ({"claims": {"team": 7}}, "jwt.claims: 'team' must be the name of a claim"),
        ({"defaults": {"id": "x"}}, "jwt.defaults: an id is no default"),
        ({"defaults": {"modles": ["x"]}}, "jwt.defaults.modles: unknown key, did you mean 'models'?"),
        (
            {"defaults": {"limits": {"requests_per_minute": "x"}}},
            "jwt.defaults.limits.requests_per_minute: must be a whole number",
        ),
        ({"jwks": "https://u:p@[h/keys"}, "jwt.jwks: must be a file, or a URL with a host"),
        ({"isuer": "x"}, "jwt.isuer: unknown key, did you mean 'issuer'?"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes, said):
    with pytest.raises(ConfigError) as caught:
        read_settings(GOOD | changes)
    assert said in str(caught.value)
    assert len(caught.value.problems) == 1


def test_an_audience_must_be_named_or_renounced():
    assert read_settings(GOOD | {"audience": None}).audience is None
    with pytest.raises(ConfigError, match="write null"):
        read_settings({"issuer": ISSUER, "jwks": "x"})


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (sign(exp=None), "it has no 'exp'"),
        (sign(TWO), "its signature is wrong"),
        (sign(algorithm="RS512"), "its 'alg' is none of 'algorithms'"),
        (sign(headers={"kid": "two"}), "its issuer does not publish the key that it is signed with"),
        (sign(aud=["another"]), "its 'aud' is missing, or another one than 'audience'"),
        (sign(aud=None), "its 'aud' is missing, or another one than 'audience'"),
        (sign(sub=None), "claims.id: is missing"),
        (f"eyJ{sign()[3:40]}.e30.x", "it cannot be read"),
    ],
)
async def test_the_log_says_why_a_token_was_refused_and_nothing_of_the_token(token, reason, caplog):
    settings = SETTINGS.model_copy(update={"algorithms": ("RS256",)})
    await refusal(token, settings=settings)
    assert caplog.messages == [f"a token of {ISSUER} was refused: {reason}"]


async def test_a_token_of_another_issuer_is_no_warning_because_another_source_may_know_it(caplog):
    assert await refusal(sign(iss="https://login.example.org/")) == "wrong_issuer"
    assert caplog.messages == []
