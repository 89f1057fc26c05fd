"""The one list of plugins: every place can be made, and nobody else asks whether a plugin is one of ours."""

import ast
from importlib import import_module
from pathlib import Path

import pytest

import crplugins
from crplugins.config import ConfigError, parse_config
from crplugins.core.plugin import Plugin
from crplugins.homes.assembly import PLACES, assemble, make, place_of, stands_in
from crplugins.homes.middlewares import RateLimitMiddleware
from crplugins.homes.parts import Parts
from crplugins.plugins.auth import Auth
from crplugins.plugins.rate_limits.plugin import RateLimits

PACKAGE = Path(crplugins.__file__).parent
EVERYTHING = {
    "tracing": True,
    "metrics": {"token": None, "otlp": True},
    "server": {"access_log": True, "max_in_flight": 9},
    "guard": {"strict": True},
    "admin": {"token": "admin-token-0123456789"},
    "keys": [{"id": "a", "secret": "sk-a"}],
    "limits": {"per_deployment": {"requests_per_minute": 1}},
    "webhooks": [{"url": "https://hooks.example.com/", "secret": "a secret of the receiver"}],
}
CLASSES = {name.partition(":")[2] for place in PLACES for name in place.plugins}


class Own(Plugin):
    async def on_request(self, exchange: object) -> None: ...


def parts(**words: object) -> Parts:
    return Parts(parse_config(words), lambda _model: None)


@pytest.mark.parametrize("name", sorted({name for place in PLACES for name in place.plugins}))
def test_every_place_names_a_plugin_that_there_is(name: str) -> None:
    if "litellm_proxy" in name:
        pytest.importorskip("litellm.proxy._types")
    module, _, kind = name.partition(":")
    assert issubclass(getattr(import_module(module), kind), Plugin)


@pytest.mark.parametrize("home", ["vllm", "litellm_entry", "gateway"])
def test_a_home_that_sends_no_requests_to_deployments_says_that_it_keeps_none_of_their_limits(
    home: str, caplog: pytest.LogCaptureFixture
) -> None:
    if home == "litellm_entry":
        pytest.importorskip("litellm.proxy._types")
    assemble(parts(limits={"per_deployment": {"requests_per_minute": 1}}), home)  # type: ignore[arg-type]
    told = [message for message in caplog.messages if message.startswith("limits.per_deployment is ignored: only")]
    assert len(told) == (home != "gateway")


@pytest.mark.parametrize(
    ("home", "ignored"), [("gateway", set()), ("vllm", {"admin"}), ("litellm_entry", {"admin", "prices"})]
)
def test_a_home_names_the_settings_that_do_nothing_there(
    home: str, ignored: set[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if home == "litellm_entry":
        pytest.importorskip("litellm.proxy._types")
    (tmp_path / "prices.json").write_text('{"m": {"input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6}}')
    config = parts(admin=EVERYTHING["admin"], prices={"file": str(tmp_path / "prices.json")})
    assemble(config, home)  # type: ignore[arg-type]
    told = [message.partition(" is ignored: ") for message in caplog.messages]
    assert {setting for setting, ignores, _ in told if ignores} == ignored


def test_in_front_of_an_app_of_ones_own_such_a_limit_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"limits\.per_deployment: cannot be kept here"):
        RateLimitMiddleware(lambda *_: None, limits={"per_deployment": {"requests_per_minute": 1}})  # type: ignore[arg-type]


@pytest.mark.parametrize("home", ["gateway", "vllm", "own_app"])
def test_a_home_takes_its_slice_in_the_order_of_the_list(home: str) -> None:
    plugins = assemble(parts(**EVERYTHING), home)  # type: ignore[arg-type]
    places = [place_of(plugin) for plugin in plugins]
    assert places == sorted(places)  # type: ignore[type-var]
    assert all(stands_in(plugin, home) for plugin in plugins)  # type: ignore[arg-type]
    assert {PLACES[place] for place in places} == {place for place in PLACES if home in place.homes}  # type: ignore[index]


def test_ones_own_plugins_have_no_place_and_stand_in_every_home() -> None:
    own = Own()
    assert place_of(own) is None
    assert all(stands_in(own, home) for place in PLACES for home in place.homes)
    plugins = assemble(parts(plugins=[{"use": Own, "before": "Auth"}, Own]), "gateway")
    names = [plugin.name for plugin in plugins]
    assert names.index("Own") == names.index("Auth") - 1
    assert names[-1] == "Own"


def test_each_part_is_made_once() -> None:
    shared = parts(**EVERYTHING)
    limits, auth = make(RateLimits, shared), make(Auth, shared)
    assert limits.reservations is shared.reservations
    assert auth.source is shared.keys


def asked_for(tree: ast.AST) -> list[str]:
    """The classes of built-in plugins in `isinstance` and `type(...) is`."""
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance":
            found += [name.id for name in ast.walk(node.args[1]) if isinstance(name, ast.Name)]
        elif isinstance(node, ast.Compare) and isinstance(node.left, ast.Call):
            called = node.left.func
            if isinstance(called, ast.Name) and called.id == "type":
                found += [name.id for part in node.comparators for name in ast.walk(part) if isinstance(name, ast.Name)]
    return [name for name in found if name in CLASSES]


def test_only_the_list_asks_which_built_in_plugin_it_has() -> None:
    offenders = {
        str(file.relative_to(PACKAGE)): names
        for file in PACKAGE.rglob("*.py")
        if file != PACKAGE / "homes" / "assembly.py" and (names := asked_for(ast.parse(file.read_text("utf-8"))))
    }
    assert not offenders
    assert asked_for(ast.parse("isinstance(p, (int, Auth)); type(p) is RateLimits")) == ["Auth", "RateLimits"]
