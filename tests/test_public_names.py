"""What an author of plugins needs is importable from `crplugins`, and loads nothing of the gateway."""

import subprocess
import sys

import pytest

import crplugins
from crplugins import Auth, PluginMiddleware, Usage

NEEDED = "Body Event Exchange GatewayError Plugin Principal Refusal Reply Slot TokenUsage"
HEAVY = {"aiohttp", "asyncio", "litellm", "openai", "pydantic", "redis", "sqlalchemy", "starlette", "uvicorn", "yaml"}


def test_every_name_is_there() -> None:
    for name in crplugins.__all__:
        assert getattr(crplugins, name) is not None
    assert set(NEEDED.split()) <= set(crplugins.__all__)


def test_the_names_of_an_author_load_nothing_heavy() -> None:
    code = f"import sys; from crplugins import {NEEDED.replace(' ', ', ')}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not HEAVY & {name.partition(".")[0] for name in loaded}
    assert not [name for name in loaded if name.startswith("crplugins.") and not name.startswith("crplugins.core")]


def test_all_plugins_their_stores_and_what_they_are_told_are_public() -> None:
    plugins = (
        "AccessLog Auth Budgets Disconnects HostPrincipal Metrics MissingUsage ModelAliases RateLimits RequestGuard"
    )
    plugins += " ServerTiming StreamUsage Tracing Usage"
    stores = "FileKeys InlineKeys JwtKeys SqlKeys MemoryStore SqliteStore RedisStore Ledger UsageRecord"
    assert set(f"{plugins} {stores} Limits Budget LimitRules".split()) <= set(crplugins.__all__)
    assert all(issubclass(getattr(crplugins, name), crplugins.Plugin) for name in plugins.split())


def test_a_class_in_the_place_of_a_plugin_is_refused_with_what_to_write() -> None:
    with pytest.raises(TypeError, match=r"holds the class Auth, and needs an instance: Auth\(\.\.\.\)"):
        PluginMiddleware(app, plugins=[Auth])  # type: ignore[list-item]


@pytest.mark.parametrize("thing", [3, None, object(), lambda: None, "Auth"])
def test_what_is_no_plugin_is_refused_by_its_own_name(thing: object) -> None:
    with pytest.raises(TypeError, match=r"is no crplugins\.Plugin"):
        PluginMiddleware(app, plugins=[Usage(), thing])  # type: ignore[list-item]


def test_one_plugin_in_the_place_of_a_list_is_refused() -> None:
    with pytest.raises(TypeError, match=r"plugins is a list: plugins=\[Usage\(\.\.\.\)\]"):
        PluginMiddleware(app, plugins=Usage())  # type: ignore[arg-type]


@pytest.mark.parametrize("thing", [3, object(), Auth])
def test_a_resource_must_be_something_to_enter(thing: object) -> None:
    with pytest.raises(TypeError, match="no async context manager"):
        PluginMiddleware(app, resources=[thing])  # type: ignore[list-item]


async def app(scope: object, receive: object, send: object) -> None: ...
