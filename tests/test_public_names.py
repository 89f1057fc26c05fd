"""What an author of plugins needs is importable from `crplugins`, and loads nothing of the gateway."""

import os
import subprocess
import sys
from importlib import import_module

import pytest

import crplugins
from crplugins import Auth, PluginMiddleware, Usage

NEEDED = "Body Event Exchange GatewayError Plugin Principal Refusal Reply Slot TokenUsage"
HEAVY = {"aiohttp", "asyncio", "litellm", "openai", "pydantic", "redis", "sqlalchemy", "starlette", "uvicorn", "yaml"}


def test_every_name_is_there() -> None:
    for name in dir(crplugins):
        assert getattr(crplugins, name) is not None
    assert set(NEEDED.split()) <= set(dir(crplugins))


def test_the_names_of_an_author_load_nothing_heavy() -> None:
    code = f"import sys; from crplugins import {NEEDED.replace(' ', ', ')}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not HEAVY & {name.partition(".")[0] for name in loaded}
    assert not [name for name in loaded if name.startswith("crplugins.") and not name.startswith("crplugins.core")]


def test_a_star_brings_every_name_but_those_of_extras_that_are_not_installed() -> None:
    code = (
        "import sys\n"
        "for absent in ('jwt', 'redis'): sys.modules[absent] = None\n"
        "from crplugins import *\n"
        "import crplugins\n"
        "print(*sorted({*dir(crplugins)} - {*globals()}), Auth.__name__)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["JwtKeys", "RedisStore", "Auth"]


def test_all_plugins_their_stores_and_what_they_are_told_are_public() -> None:
    plugins = "AccessLog Activity Admission Auth Budgets Disconnects HostPrincipal Metrics MissingUsage ModelAliases RateLimits RequestGuard"
    plugins += " ServerTiming StreamUsage Tracing Usage"
    stores = "FileKeys InlineKeys JwtKeys SqlKeys MemoryStore SqliteStore RedisStore Ledger UsageRecord"
    assert set(f"{plugins} {stores} Limits Budget LimitRules".split()) <= set(dir(crplugins))
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


DOTTED = (
    "crplugins.Gateway",
    "crplugins.PluginMiddleware",
    "crplugins.homes.gateway.Gateway",
    "crplugins.homes.gateway.create_app",
    "crplugins.homes.litellm_proxy.callback",
    "crplugins.homes.litellm_proxy.user_api_key_auth",
    "crplugins.homes.litellm_sdk.UsageCallback",
    "crplugins.homes.vllm.Middleware",
    "crplugins.keys.file.FileKeys",
    "crplugins.keys.jwt.JwtKeys",
    "crplugins.testing.PluginContract",
    "crplugins.cli.main",
)
"""Names that files, command lines and other people's code write. LiteLLM's `app` is tested with its real proxy."""


@pytest.mark.filterwarnings("ignore:::litellm", "ignore:::pydantic")
@pytest.mark.parametrize("name", DOTTED)
def test_what_others_write_in_files_and_code_stays_importable(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    assert getattr(import_module(module), attribute) is not None


def loaded_by(code: str) -> set[str]:
    """The modules that are loaded when `code` has run, in a process of its own."""
    whole = f"import sys\n{code}\nprint(*sys.modules)"
    environ = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    done = subprocess.run([sys.executable, "-c", whole], capture_output=True, text=True, check=True, env=environ)
    return set(done.stdout.split())


def test_the_callback_leaves_it_to_litellm_in_which_order_its_proxy_is_imported() -> None:
    """LiteLLM imports the callback in the middle of its own start: what it has not loaded yet must not be loaded then."""
    loaded = loaded_by("import crplugins.homes.litellm_proxy")
    assert "crplugins.homes.litellm_proxy.callback" in loaded
    assert not loaded & {"litellm.proxy._types", "litellm.proxy.utils", "litellm.proxy.proxy_server", "fastapi"}


def test_what_uvicorns_workers_import_does_not_bring_the_command_line() -> None:
    loaded = loaded_by("import crplugins.cli.worker")
    assert "crplugins.homes.gateway.app" in loaded
    assert not loaded & {"typer", "rich", "litellm", "uvicorn"}
