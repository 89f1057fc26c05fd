"""Homes under uvicorn in this process: gateways, and all kinds of middleware before an application of one's own."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import yaml

from crplugins import (
    Admission,
    AdmissionMiddleware,
    Auth,
    AuthMiddleware,
    BudgetMiddleware,
    Gateway,
    HostPrincipalMiddleware,
    MetricsMiddleware,
    ModelAliasMiddleware,
    PluginMiddleware,
    RateLimitMiddleware,
    StreamUsageMiddleware,
    UsageMiddleware,
)
from crplugins.config import parse_config
from crplugins.testing import FakeProvider
from tests.homes.matrix.home import Home
from tests.homes.matrix.hosts import APPS, fastapi_app, starlette_app
from tests.homes.matrix.relay import Relay
from tests.homes.matrix.stage import Stage
from tests.homes.matrix.witness import Blocklist, Innermost, Outermost, OwnCache
from tests.homes.matrix.words import (
    ALIASES,
    KEYS,
    MAX_BODY,
    MAX_IN_FLIGHT,
    METRICS,
    METRICS_PATH,
    SCOPES,
    SESSION_BUDGET,
    ledger,
    models,
    words,
)


def witnesses(home: Home) -> tuple[Outermost, Blocklist, Innermost, OwnCache]:
    folder = str(home.folder)
    return Outermost(folder=folder), Blocklist(), Innermost(folder=folder), OwnCache()


def gateway(home: Home, handler: str) -> Any:
    served = [{**entry, "handler": handler} for entry in models(home.provider.base_url)]
    return Gateway(model_list=served, **words(home.folder))


def plugins_in_one_middleware(home: Home) -> Any:
    """PluginMiddleware as one writes it by hand."""
    from crplugins.homes.metrics import MetricsPage, Scraper
    from crplugins.homes.price_list import PriceList
    from crplugins.ledger.ledger import Ledger
    from crplugins.plugins.aliases.plugin import ModelAliases
    from crplugins.plugins.budgets.plugin import Budgets
    from crplugins.plugins.metrics.plugin import Metrics
    from crplugins.plugins.missing_usage import MissingUsage
    from crplugins.plugins.rate_limits.plugin import RateLimits
    from crplugins.plugins.stream_usage import StreamUsage
    from crplugins.plugins.usage import Usage

    prices, metrics = PriceList(_deployments(home)), Metrics(list(ALIASES), [key["id"] for key in KEYS])
    limits = parse_config({"limits": SCOPES, "budgets": SESSION_BUDGET})
    identities = limits.limits.identity.identities(None)
    outermost, blocklist, innermost, cache = witnesses(home)
    admission, scraper = Admission(MAX_IN_FLIGHT), Scraper(metrics, token=None)
    scraper.watch([admission], {})
    plugins = [
        outermost,
        MetricsPage(scraper, path=METRICS_PATH),
        metrics,
        blocklist,
        Auth(KEYS),
        Usage(Ledger(**ledger(home.folder)), prices=prices),
        admission,
        ModelAliases(aliases=ALIASES),
        RateLimits(limits.limits.rules(), identities=identities),
        Budgets(per_session=limits.budgets.session(), identities=identities, prices=prices),
        StreamUsage(),
        MissingUsage(),
        innermost,
        cache,
    ]
    app = starlette_app(Relay(home.provider.base_url))
    app.add_middleware(PluginMiddleware, plugins=plugins, resources=[prices], max_body_bytes=MAX_BODY)
    return app


def named_middlewares(home: Home, make: Callable[[Relay], Any]) -> Any:
    """Each put around the one before, as `add_middleware` does it."""
    priced = models(home.provider.base_url)
    size: Any = {"max_body_bytes": MAX_BODY}
    outermost, blocklist, innermost, cache = witnesses(home)
    app = make(Relay(home.provider.base_url))
    app = PluginMiddleware(app, plugins=[innermost, cache], **size)
    app = StreamUsageMiddleware(app, **size)
    app = BudgetMiddleware(app, budgets=SESSION_BUDGET, limits=SCOPES, model_list=priced, **size)
    app = RateLimitMiddleware(app, limits=SCOPES, **size)
    app = ModelAliasMiddleware(app, aliases=ALIASES, **size)
    app = AdmissionMiddleware(app, max_in_flight=MAX_IN_FLIGHT, **size)
    app = UsageMiddleware(app, ledger=ledger(home.folder), model_list=priced, **size)
    app = AuthMiddleware(app, keys=KEYS, **size)
    app = PluginMiddleware(app, plugins=[blocklist], **size)
    app = MetricsMiddleware(app, metrics=METRICS, **size)
    return PluginMiddleware(app, plugins=[outermost], **size)


def vllm(home: Home) -> Any:
    """vLLM imports the class that its command line names, and adds it as FastAPI has it added."""
    from crplugins.homes.vllm import Middleware

    file = home.folder / "gateway.yaml"
    file.write_text(yaml.safe_dump({**words(home.folder), "model_list": models(home.provider.base_url)}))
    app = fastapi_app(Relay(home.provider.base_url))
    app.add_middleware(Middleware)
    with mock.patch.dict(os.environ, {"CRPLUGINS_CONFIG": str(file)}):
        app.middleware_stack = app.build_middleware_stack()
    return app


def _deployments(home: Home) -> Any:
    return parse_config({"model_list": models(home.provider.base_url)}).deployments()


def mounted(home: Home) -> Any:
    """A gateway under a path of a Starlette app that knows its users by tokens of its own."""
    from starlette.applications import Starlette
    from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
    from starlette.middleware import Middleware
    from starlette.middleware.authentication import AuthenticationMiddleware
    from starlette.routing import Mount

    from crplugins.keys.inline import InlineKeys

    class Sessions(AuthenticationBackend):
        async def authenticate(self, conn: Any) -> Any:
            name = conn.headers.get("authorization", "").removeprefix("Bearer session-of-")
            return (AuthCredentials(["authenticated"]), SimpleUser(name)) if name in principals else None

    principals = {key.principal.key_id: key.principal for key in InlineKeys(KEYS).keys}
    without_keys = {name: value for name, value in words(home.folder).items() if name != "keys"}
    inner = Gateway(model_list=models(home.provider.base_url), **without_keys)
    inside = HostPrincipalMiddleware(
        inner, principal=lambda user: principals[user.username] if user.is_authenticated else None
    )
    return Starlette(
        routes=[Mount("/ai", inside)], middleware=[Middleware(AuthenticationMiddleware, backend=Sessions())]
    )


def session_of(key_id: str) -> str:
    return f"session-of-{key_id}"


STARTED: dict[str, Callable[[Home], Any]] = {
    "gateway-direct": lambda home: gateway(home, "direct"),
    "gateway-litellm": lambda home: gateway(home, "litellm"),
    "gateway-mounted": mounted,
    "PluginMiddleware": plugins_in_one_middleware,
    **{name: (lambda home, make=make: named_middlewares(home, make)) for name, make in APPS.items()},
    "vllm": vllm,
}


@contextmanager
def in_process(name: str, folder: Path) -> Iterator[Home]:
    with Stage() as stage:
        home = Home(name, stage, stage.enter(FakeProvider()), folder)
        home.url = stage.serve(STARTED[name](home))
        if name == "gateway-mounted":
            home.url, home.credential = home.url + "/ai", session_of
        yield home
