"""The named middlewares: their words, their order, and how neighbours become one."""

import contextlib
import itertools
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

import crplugins
from crplugins import (
    AuthMiddleware,
    BudgetMiddleware,
    Gateway,
    HostPrincipalMiddleware,
    LimitRules,
    Limits,
    MetricsMiddleware,
    ModelAliasMiddleware,
    Plugin,
    PluginMiddleware,
    Principal,
    RateLimitMiddleware,
    RateLimits,
    StreamUsageMiddleware,
    UsageMiddleware,
)
from crplugins.config import ConfigError
from crplugins.homes.middlewares import NamedMiddleware
from crplugins.testing import Answer, LifespanError, drive, lifespan
from tests.homes.host_model import PRICED, HostModel

CHAT = "/v1/chat/completions"
KEY = {"authorization": "Bearer sk-team-a"}
KEYS = [{"id": "team-a", "secret": "sk-team-a", "team": "search"}]
ASK = {"model": "fast", "messages": [{"role": "user", "content": "hi"}]}


def host(model: HostModel) -> Starlette:
    async def chat(request: Request) -> Any:
        body = await request.json()
        if body.get("stream"):
            return StreamingResponse(model.stream(body), media_type="text/event-stream")
        return JSONResponse(model.answer(body))

    async def models(request: Request) -> Any:
        return JSONResponse({"data": []})

    return Starlette(routes=[Route(CHAT, chat, methods=["POST"]), Route("/v1/models", models)])


def layers(*, sink: Any = None, url: str | None = None) -> list[Middleware]:
    """One of each, innermost first."""
    ledger = None if url is None else {"url": url}
    return [
        Middleware(StreamUsageMiddleware),
        Middleware(
            BudgetMiddleware, budgets={"per_key": {"usd": 1, "period": "day"}}, model_list=PRICED, ledger=ledger
        ),
        Middleware(RateLimitMiddleware, limits={"per_key": {"requests_per_minute": 5, "tokens_per_minute": 1000}}),
        Middleware(ModelAliasMiddleware, aliases={"fast": "llama"}),
        Middleware(UsageMiddleware, sinks=[sink] if sink else (), model_list=PRICED, ledger=ledger),
        Middleware(AuthMiddleware, keys=KEYS),
        Middleware(MetricsMiddleware, metrics={"token": None}),
    ]


def stacked(app: Any, added: Any) -> Any:
    for layer in added:
        app = layer.cls(app, *layer.args, **layer.kwargs)
    return app


async def ask(app: Any, **more: Any) -> Answer:
    return await drive(app, body={**ASK, **more}, headers=KEY)


NAMES = [
    "MetricsPage", "Metrics", "Auth", "Usage", "ModelAliases", "RateLimits", "Budgets", "Disconnects", "StreamUsage",
    "MissingUsage",
]  # fmt: skip


@pytest.mark.parametrize(
    "shuffle", [lambda x: x, lambda x: x[::-1], lambda x: x[3:] + x[:3]], ids=["right", "wrong", "mixed"]
)
def test_neighbours_become_one_and_take_their_order_whichever_was_added_first(shuffle):
    app = host(HostModel())
    outer = stacked(app, shuffle(layers()))
    assert [plugin.name for plugin in outer.plugins if plugin.name in NAMES] == NAMES
    assert outer.app is app


@pytest.mark.parametrize("order", list(itertools.permutations(range(7)))[::501], ids=str)
async def test_all_of_them_work_together_in_every_order(order):
    records: list[Any] = []
    model, parts = HostModel(), layers(sink=records.append)
    app = stacked(host(model), [parts[i] for i in order])
    async with lifespan(app):
        answer = await ask(app, stream=True)
        refused = await drive(app, body=ASK)
        scraped = (await drive(app, "GET", "/metrics")).body.decode()
    assert answer.status == 200
    assert b'"usage"' not in answer.body
    assert b'"model":"fast"' in answer.body.replace(b" ", b"")
    assert answer.headers["x-ratelimit-remaining-requests"] == "4"
    assert model.asked == [{**ASK, "model": "llama", "stream": True, "stream_options": {"include_usage": True}}]
    [record] = records
    assert (record.key_id, record.requested_model, record.served_model) == ("team-a", "fast", "llama")
    assert (record.usage.input_tokens, record.usage.output_tokens, record.usage_source) == (5, 3, "provider")
    assert record.cost_micro_usd == 11
    assert (refused.status, refused.json()["error"]["code"]) == (401, None)
    assert 'key_id="team-a"' in scraped
    assert 'key_id="none"' in scraped


async def test_no_body_is_read_before_a_key_is_asked_for():
    app = stacked(host(HostModel()), layers())
    async with lifespan(app):
        assert (await drive(app, forbid_body=True)).status == 401


BOUND = ["StoredResponses", "ResponseAccess", "MessageThreads"]
"""What stands behind Auth: an answer that is kept is its key's."""


async def test_own_plugins_between_keep_their_place():
    class Own(Plugin):
        async def on_request(self, exchange: Any) -> None: ...

    inner = RateLimitMiddleware(host(HostModel()))
    outer = AuthMiddleware(PluginMiddleware(inner, plugins=[Own()]), keys=KEYS)
    assert [p.name for p in outer.plugins] == ["Auth", *BOUND, "Own", "RateLimits"]
    wrong = RateLimitMiddleware(PluginMiddleware(AuthMiddleware(host(HostModel()), keys=KEYS), plugins=[Own()]))
    assert [p.name for p in wrong.plugins] == ["Auth", "Own", *BOUND, "RateLimits"]


def test_a_plain_plugin_middleware_outside_takes_them_in():
    outer = PluginMiddleware(AuthMiddleware(host(HostModel()), keys=KEYS), plugins=[Plugin()])
    assert [p.name for p in outer.plugins] == ["Plugin", "Auth", *BOUND]


# Words.


@pytest.mark.parametrize(
    ("middleware", "words", "key"),
    [
        (AuthMiddleware, {}, "keys: is missing"),
        (AuthMiddleware, {"key": KEYS}, "key: unknown key, did you mean 'keys'?"),
        (AuthMiddleware, {"keys": []}, "keys: must not be empty"),
        (AuthMiddleware, {"keys": [{"id": "a"}]}, "keys[0]"),
        (ModelAliasMiddleware, {"alias": {}}, "alias: unknown key, did you mean 'aliases'?"),
        (ModelAliasMiddleware, {"aliases": {"a": "b", "b": "a"}}, "aliases.a"),
        (RateLimitMiddleware, {"limit": {}}, "limit: unknown key, did you mean 'limits'?"),
        (RateLimitMiddleware, {"limits": {"per_kye": {}}}, "limits.per_kye: unknown key, did you mean 'per_key'?"),
        (
            RateLimitMiddleware,
            {"limits": {"per_key": {"requests_per_minute": 0}}},
            "limits.per_key.requests_per_minute",
        ),
        (RateLimitMiddleware, {"limits": {"store": "redi://x"}}, "limits.store"),
        (BudgetMiddleware, {"budgets": {"per_key": {"usd": 1}}}, "budgets.per_key.period"),
        (StreamUsageMiddleware, {"always": True}, "always: unknown key, nothing is configured here"),
        (UsageMiddleware, {"ledger": {"uri": "x"}}, "ledger.uri: unknown key, did you mean 'url'?"),
        (UsageMiddleware, {"missing_usage": "guess"}, "missing_usage"),
        (MetricsMiddleware, {}, "metrics: is missing"),
        (MetricsMiddleware, {"metrics": {"token": None, "path": "metrics"}}, "metrics.path"),
        (HostPrincipalMiddleware, {"scope_key": "user"}, "scope_key: unknown key"),
    ],
)
def test_a_wrong_keyword_is_an_error_that_names_it(middleware, words, key):
    with pytest.raises(ConfigError) as error:
        middleware(host(HostModel()), **words)
    assert key in str(error.value)


def test_limits_of_a_model_need_no_model_list():
    RateLimitMiddleware(host(HostModel()), limits={"per_model": {"llama": {"tokens_per_minute": 5}}})


def test_the_options_of_a_plugin_middleware_are_taken():
    app = StreamUsageMiddleware(host(HostModel()), max_body_bytes=5, new_id=lambda: "mine")
    assert app._options[0] == 5


def test_each_is_a_public_name():
    for name in crplugins.__all__:
        if name.endswith("Middleware") and name != "PluginMiddleware":
            assert issubclass(getattr(crplugins, name), NamedMiddleware)


# One at a time.


async def test_auth_alone_guards_every_path_but_the_public_ones():
    app = AuthMiddleware(host(HostModel()), keys=KEYS, public_paths=["/v1/models"])
    assert (await drive(app, body=ASK)).status == 401
    assert (await ask(app)).status == 200
    assert (await drive(app, "GET", "/v1/models")).status == 200
    assert (await drive(app, "GET", "/nothing")).status == 401


async def test_limits_alone_count_everybody_together_by_their_own_words():
    app = RateLimitMiddleware(host(HostModel()), limits={"global": {"requests_per_minute": 1}})
    assert (await drive(app, body=ASK)).status == 200
    refused = await drive(app, body=ASK)
    assert (refused.status, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert (await drive(app, "GET", "/v1/models")).status == 200


async def test_metrics_alone_count_tokens_and_let_other_paths_be():
    app = MetricsMiddleware(host(HostModel()), metrics={"token": "t-1", "path": "/m"}, models=["fast"])
    assert (await drive(app, body={**ASK, "stream": False})).status == 200
    assert (await drive(app, "GET", "/m")).status == 401
    scraped = await drive(app, "GET", "/m", headers={"authorization": "Bearer t-1"})
    lines = [line for line in scraped.body.decode().splitlines() if line.startswith("crplugins_input_tokens_total{")]
    assert lines, scraped.body.decode()
    assert lines[0].endswith(" 5.0")
    assert 'model="fast"' in lines[0]
    assert (await drive(app, "GET", "/v1/models")).json() == {"data": []}
    head = await drive(app, "HEAD", "/m", headers={"authorization": "Bearer t-1"})
    assert (head.status, head.body) == (200, b"")


async def test_metrics_show_limits_budgets_ledger_and_faults_of_the_neighbours(tmp_path):
    class Failing(Plugin):
        observes = True

        async def on_request(self, exchange: Any) -> None:
            raise LookupError

    parts = layers(url=f"sqlite:///{tmp_path}/usage.db")
    app = stacked(PluginMiddleware(host(HostModel()), plugins=[Failing()]), parts)
    async with lifespan(app):
        assert (await ask(app)).status == 200
        scraped = (await drive(app, "GET", "/metrics")).body.decode()
    assert 'crplugins_limit_utilization_ratio{key_id="team-a"' in scraped
    assert 'crplugins_budget_spent_usd{key_id="team-a"} 1.1e-05' in scraped
    assert "crplugins_ledger_pending" in scraped
    assert 'crplugins_hook_errors_total{hook="on_request",plugin="Failing"} 1.0' in scraped


async def test_budgets_begin_with_what_the_ledger_has(tmp_path):
    url = f"sqlite:///{tmp_path}/usage.db"
    prices = [{**PRICED[0], "model_info": {"input_cost_per_token": 0, "output_cost_per_token": 1e-4}}]
    for expected in (200, 429):  # the second time as after a restart
        parts = [
            Middleware(
                BudgetMiddleware,
                budgets={"per_key": {"usd": 0.0003, "period": "day"}},
                ledger={"url": url},
                model_list=prices,
            ),
            Middleware(UsageMiddleware, ledger={"url": url}, model_list=prices),
            Middleware(AuthMiddleware, keys=KEYS),
        ]
        app = stacked(host(HostModel()), parts)
        async with lifespan(app):
            answer = await ask(app)
        assert answer.status == expected
    assert answer.json()["error"]["code"] == "insufficient_quota"


# The host's own authentication.


class HostAuth:
    def __init__(self, app: Any, user: Any, key: str = "user") -> None:
        self.app, self.user, self.key = app, user, key

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            if self.key == "state.user":
                scope.setdefault("state", {})["user"] = self.user
            else:
                scope[self.key] = self.user
        await self.app(scope, receive, send)


class Named:
    is_authenticated = True

    def __init__(self, username: str) -> None:
        self.username = username


class Nobody:
    is_authenticated = False


class Says:
    """A user of somebody's framework, and what it says of itself."""

    id = "ada"

    def __init__(self, is_authenticated: Any, is_anonymous: Any = False) -> None:
        self.is_authenticated, self.is_anonymous = is_authenticated, is_anonymous


@pytest.mark.parametrize(
    ("user", "key_id"),
    [
        ("ada", "ada"),
        ({"sub": "ada"}, "ada"),
        ({"id": 7, "name": "Ada"}, "7"),
        (Named("ada"), "ada"),
        (Principal("team-a", team="search"), "team-a"),
        ({"id": 0, "username": "ada"}, "ada"),
        (Says(True), "ada"),
        (Says(lambda: True), "ada"),
        ({"sub": "ada", "is_authenticated": True}, "ada"),
        (None, None),
        (Nobody(), None),
        *((nobody, None) for nobody in ("", " \n", False, True, 0, -1, 0.0, {}, [], (), set(), b"")),
        *((Says(said), None) for said in (False, 0, "", None, lambda: False, lambda: None)),
        (Says(lambda: True, is_anonymous=lambda: True), None),
        ({"sub": "ada", "is_authenticated": False}, None),
        ({"sub": ""}, None),
        ({"id": 0, "username": " "}, None),
        ({"id": None}, None),
        ({"id": True}, None),
        (Principal(""), None),
    ],
)
async def test_the_caller_is_whom_the_host_has_found(user, key_id):
    records: list[Any] = []
    inner = UsageMiddleware(host(HostModel()), sinks=[records.append])
    app = HostAuth(HostPrincipalMiddleware(inner), user)
    answer = await drive(app, body=ASK)
    assert answer.status == (401 if key_id is None else 200)
    assert [record.key_id for record in records] == ([] if key_id is None else [key_id])
    assert (await drive(app, "GET", "/v1/models")).status == 200


async def test_a_page_of_the_host_under_that_path_is_kept_from_nobody():
    app = HostAuth(HostPrincipalMiddleware(host(HostModel())), None)
    assert (await drive(app, "GET", CHAT)).status == 405  # the host's own answer


@pytest.mark.parametrize("made", [None, "", False, True, 0, {}, [], Principal(""), Principal(" ")], ids=repr)
async def test_a_function_that_makes_nobody_lets_nobody_in(made):
    app = HostAuth(HostPrincipalMiddleware(host(model := HostModel()), principal=lambda _user: made), "ada")
    assert (await drive(app, body=ASK)).status == (500 if made is True else 401)
    assert model.asked == []


async def test_a_function_is_not_asked_about_nobody():
    for nobody in ("", False, True, 0, {}, [], None):
        app = HostAuth(
            HostPrincipalMiddleware(host(HostModel()), principal=lambda user: Principal(f"<{user}>")), nobody
        )
        assert (await drive(app, body=ASK)).status == 401


async def _later() -> bool:
    return True


@pytest.mark.parametrize("user", [object(), Says(_later)], ids=["no name", "to be awaited"])
async def test_a_caller_of_whom_nothing_can_be_known_is_a_fault_and_no_way_in(user):
    app = HostAuth(HostPrincipalMiddleware(host(HostModel())), user)
    assert (await drive(app, body=ASK)).status == 500


# Limits of callers whom nobody names.

PER_KEY = {"per_key": {"requests_per_minute": 5}}
PER_TEAM = {"per_team": {"search": {"requests_per_minute": 5}}}
BUDGET = {"per_key": {"usd": 1, "period": "day"}}


class Foreign:
    """Somebody's middleware, which keeps the next one where nobody looks."""

    def __init__(self, app: Any) -> None:
        self._next = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._next(dict(scope) if scope["type"] == "lifespan" else scope, receive, send)


@pytest.mark.parametrize(
    "layer",
    [
        Middleware(RateLimitMiddleware, limits=PER_KEY),
        Middleware(RateLimitMiddleware, limits=PER_TEAM),
        Middleware(RateLimitMiddleware, limits={"per_key_and_model": {"m": {"requests_per_day": 1}}}),
        Middleware(BudgetMiddleware, budgets=BUDGET, model_list=PRICED),
        Middleware(BudgetMiddleware, budgets={"per_team": {"a": {"usd": 1, "period": "day"}}}, model_list=PRICED),
        Middleware(ModelAliasMiddleware, aliases={"a": "b"}, team_aliases={"search": {"a": "c"}}),
    ],
    ids=lambda layer: f"{layer.cls.__name__}({', '.join(layer.kwargs)})",
)
@pytest.mark.parametrize(
    "outside", [[], [Middleware(Foreign), Middleware(UsageMiddleware)]], ids=["alone", "in others"]
)
async def test_what_is_for_keys_does_not_start_without_somebody_outside_who_knows_them(layer, outside):
    app = stacked(host(HostModel()), [layer, *outside])
    with pytest.raises(LifespanError, match="nothing outside it says whose a request is.*add AuthMiddleware"):
        async with lifespan(app):
            pass
    with_auth = stacked(host(HostModel()), [layer, *outside, Middleware(AuthMiddleware, keys=KEYS)])
    async with lifespan(with_auth):
        assert (await ask(with_auth, model="llama")).status == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_nor_does_it_answer_where_the_host_tells_of_no_start(method):
    app = RateLimitMiddleware(host(HostModel()), limits=PER_KEY)
    for _ in range(2):
        with pytest.raises(ConfigError, match="add AuthMiddleware"):
            await drive(app, method, body=ASK)


@pytest.mark.parametrize("tells", [True, False])
async def test_who_calls_may_be_known_beyond_a_foreign_middleware(tells):
    inner = Foreign(RateLimitMiddleware(host(HostModel()), limits=PER_KEY))
    for app in (AuthMiddleware(inner, keys=KEYS), HostAuth(HostPrincipalMiddleware(inner), "ada")):
        async with lifespan(app) if tells else contextlib.nullcontext():
            assert (await ask(app)).headers["x-ratelimit-limit-requests"] == "5"


async def test_one_s_own_plugin_may_say_who_calls():
    class Own(Plugin):
        async def on_request(self, exchange: Any) -> None:
            exchange.principal = Principal("ada")

    app = PluginMiddleware(RateLimitMiddleware(host(HostModel()), limits=PER_KEY), plugins=[Own()])
    async with lifespan(app):
        assert (await ask(app)).headers["x-ratelimit-limit-requests"] == "5"


async def test_limits_of_no_key_need_nobody():
    limits = {"global": {"requests_per_minute": 5}, "per_client_address": {"requests_per_minute": 5}}
    app = RateLimitMiddleware(host(HostModel()), limits=limits)
    async with lifespan(app):
        assert (await ask(app)).headers["x-ratelimit-limit-requests"] == "5"


async def test_a_list_of_plugins_without_one_who_knows_them_is_told_once(caplog):
    rules = LimitRules(per_key=Limits(requests_per_minute=5))
    app = PluginMiddleware(host(HostModel()), plugins=[RateLimits(rules)])
    async with lifespan(app):
        for model in ("a", "b"):
            await ask(app, model=model)
    lines = [line for line in caplog.messages if "Auth or HostPrincipal must stand outside RateLimits" in line]
    assert len(lines) == 1


async def test_a_gateway_without_keys_lists_its_models_to_whom_the_host_has_found():
    models = [
        {"model_name": name, "litellm_params": {"model": "openai/m", "api_base": "http://127.0.0.1:9/v1"}}
        for name in ("small", "large")
    ]

    def principal(user: Any) -> Principal:
        return Principal(user, models=("small",))

    async with lifespan(gateway := Gateway(model_list=models)):
        for user, status in (("ada", 200), (None, 401), (object(), 200)):
            app = HostAuth(HostPrincipalMiddleware(gateway, principal=principal), user)
            answer = await drive(app, "GET", "/v1/models")
            assert answer.status == status
        named = HostAuth(HostPrincipalMiddleware(gateway, principal=principal), "ada")
        assert [model["id"] for model in (await drive(named, "GET", "/v1/models")).json()["data"]] == ["small"]
        assert (await drive(HostAuth(HostPrincipalMiddleware(gateway), object()), "GET", "/v1/models")).status == 401


async def test_the_host_may_keep_its_user_elsewhere_and_say_what_it_may_do():
    def principal(user: Any) -> Principal:
        return Principal(user["mail"], models=("llama",))

    inner = ModelAliasMiddleware(host(HostModel()), aliases={"fast": "llama"})
    app = HostAuth(HostPrincipalMiddleware(inner, key="state.user", principal=principal), {"mail": "a@b"}, "state.user")
    assert (await drive(app, body=ASK)).status == 200
    assert (await drive(app, body={**ASK, "model": "other"})).status == 404


async def test_metrics_outside_the_host_know_the_caller_too():
    app = MetricsMiddleware(
        HostAuth(HostPrincipalMiddleware(UsageMiddleware(host(HostModel()))), "ada"), metrics={"token": None}
    )
    async with lifespan(app):
        assert (await drive(app, body=ASK)).status == 200
        assert 'key_id="ada"' in (await drive(app, "GET", "/metrics")).body.decode()


def test_limits_outside_the_host_principal_are_refused():
    with pytest.raises(ConfigError, match="^HostPrincipal must stand outside RateLimits. What is added last"):
        RateLimitMiddleware(HostPrincipalMiddleware(host(HostModel())))
