"""What the page for authors of plugins says is so: its blocks run, its tables are whole, its orders are the real ones."""

import inspect
import re
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import openai
import pytest
import yaml

from crplugins import Gateway, Plugin, PluginMiddleware
from crplugins.config import arrange_plugins, parse_config
from crplugins.core.plugin import Plugin as Base
from crplugins.testing import FakeProvider, PluginContract, Script, drive
from tests.documents.pages import text_of

EXAMPLES = Path(__file__).parents[2] / "examples"
PAGE = (EXAMPLES.parent / "crplugins" / "testing" / "README.md").read_text()
HELLO = [{"role": "user", "content": "hi"}]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def rows(header: str) -> list[list[str]]:
    """The cells of the table whose first line begins with `header`."""
    table = PAGE.partition(f"| {header} |")[2].partition("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()[2:]]


def run(source: str) -> dict[str, Any]:
    """A block's names."""
    module = ModuleType("block_of_the_page")
    exec(compile(source, "README.md", "exec"), vars(module))  # the page's own
    return vars(module)


def defined(source: str, kind: type) -> list[type]:
    return [
        value
        for value in run(source).values()
        if isinstance(value, type) and issubclass(value, kind) and value.__module__ == "block_of_the_page"
    ]


def plugin(name: str) -> type[Plugin]:
    (found,) = (value for block in blocks("python") if f"class {name}(" in block for value in [run(block)[name]])
    return found


PLAIN = [block for block in blocks("python") if "asyncio.run(" not in block]
PLUGINS = [kind for block in PLAIN for kind in defined(block, Plugin) if "PluginContract" not in block]


def contracts() -> Iterator[type[PluginContract]]:
    for kind in PLUGINS:
        hooks: dict[str, Any] = {"make_plugin": lambda _self, kind=kind: kind()}
        if kind.__name__ == "Tenant":  # it asks for a header
            hooks["accepted_request"] = lambda self: {
                **PluginContract.accepted_request(self),
                "headers": {"x-tenant": "acme"},
            }
        yield type(f"Test{kind.__name__}", (PluginContract,), hooks)
    for block in PLAIN:
        yield from (kind for kind in defined(block, PluginContract) if kind is not PluginContract)


CONTRACTS = list(contracts())
TESTS: list[tuple[type[PluginContract], str]] = [
    (contract, name) for contract in CONTRACTS for name in dir(contract) if name.startswith("test_")
]


def test_the_page_has_plugins_of_every_kind() -> None:
    names = {kind.__name__ for kind in PLUGINS}
    assert names == {"NoShouting", "Lowercase", "NoSecrets", "CountWords", "Journal", "Cache", "ByLength", "Tenant"}
    assert [contract.__name__ for contract in CONTRACTS][-1] == "TestNeedsReason"


@pytest.mark.parametrize(("contract", "test"), TESTS, ids=lambda value: getattr(value, "__name__", str(value)))
async def test_every_plugin_on_the_page_keeps_the_contract(contract: type[PluginContract], test: str) -> None:
    check: Callable[[], Awaitable[None]] = getattr(contract(), test)
    await check()


def test_the_blocks_that_run_by_themselves_do() -> None:
    (block,) = (block for block in blocks("python") if block not in PLAIN)
    assert run(block)["answer"].status == 200


def test_every_hook_and_every_need_has_its_row() -> None:
    hooks = {name for name, value in vars(Base).items() if name.startswith("on_") and inspect.isfunction(value)}
    told = {re.search(r"on_\w+", cells[0])[0]: cells[0] for cells in rows("hook")}  # type: ignore[index]
    assert set(told) == hooks
    for name, cell in told.items():
        assert ("async" in cell) is inspect.iscoroutinefunction(getattr(Base, name))
        assert re.search(r"\((.*)\)", cell)[1] == ", ".join(inspect.signature(getattr(Base, name)).parameters)[6:]  # type: ignore[index]
    assert {cells[0].strip("`") for cells in rows("need")} == set(Base.__annotations__)


@pytest.mark.parametrize("page", ["crplugins/testing/README.md", "crplugins/plugins/README.md"])
def test_the_order_is_that_of_a_gateway_with_everything(page: str, tmp_path: Path) -> None:
    """In brackets those that a configuration has to ask for."""
    listed = re.search(r"^```\n(\[Tracing\].*?)```$", text_of(page), re.MULTILINE | re.DOTALL)
    assert listed is not None
    words = {"tracing": True, "metrics": {"token": None, "otlp": True}, "server": {"access_log": True}}
    admin = {"keys": {"file": str(tmp_path / "keys.yaml")}, "admin": {"token": "admin-token-0123456789"}}
    told = {"webhooks": [{"url": "https://hooks.example.com", "secret": "s" * 32}]}
    quotas = {"limits": {"per_deployment": {"requests_per_minute": 5}}}
    config = parse_config(words | admin | told | quotas)
    names = [plugin.name for plugin in Gateway.from_config(config).plugins]
    assert listed[1].replace("[", "").replace("]", "").split() == names
    optional = set(names) - {plugin.name for plugin in Gateway().plugins}
    assert set(re.findall(r"\[(\w+)\]", listed[1])) == optional


def test_the_yaml_is_a_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(EXAMPLES / "plugin_package")
    monkeypatch.syspath_prepend(tmp_path)
    info = tmp_path / "output_ceiling-1.0.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: output-ceiling\nVersion: 1.0.0\n")
    (toml,) = blocks("toml")
    assert toml in (EXAMPLES / "plugin_package" / "pyproject.toml").read_text()
    (info / "entry_points.txt").write_text(toml.replace("project.entry-points.", "").replace('"', ""))
    module = ModuleType("my_company.filters")
    module.RedactEmails = plugin("Lowercase")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "my_company.filters", module)
    (text,) = blocks("yaml")
    guard = type("RequestGuard", (Plugin,), {})()
    arranged = arrange_plugins(parse_config(yaml.safe_load(text)), [guard])
    assert [plugin.name for plugin in arranged] == ["RequestGuard", "OutputCeiling", "Lowercase"]


@pytest.mark.parametrize("stream", [False, True])
async def test_lowercase_works_as_the_page_says(serve: Any, stream: bool) -> None:
    async with FakeProvider(default=Script(text="Hello THERE", chunk_size=4)) as provider:
        app = gateway(provider, plugin("Lowercase"))
        async with serve(app) as url, openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="sk-k") as client:
            answer = await client.chat.completions.create(model="m", messages=HELLO, stream=stream)
            if stream:
                said = "".join([chunk.choices[0].delta.content or "" async for chunk in answer])
            else:
                said = answer.choices[0].message.content
    assert said == "hello there"


async def test_a_cached_answer_goes_no_further_and_its_usage_counts(serve: Any) -> None:
    finished: list[Any] = []

    class Books(Plugin):
        observes = True

        def on_finish(self, exchange: Any) -> None:
            finished.append((exchange.usage, exchange.usage_source, exchange.outcome))

    async with FakeProvider() as provider:
        app = gateway(provider, plugin("Cache"), {"use": Books, "after": "Usage"})
        async with serve(app) as url, openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="sk-k") as client:
            first = await client.chat.completions.create(model="m", messages=HELLO)
            again = await client.chat.completions.create(model="m", messages=HELLO)
            assert (again, provider.received) == (first, 1)
            await client.chat.completions.create(model="m", messages=[*HELLO, *HELLO])
            assert provider.received == 2
    assert finished[0][0] == finished[1][0]
    assert [end[1:] for end in finished] == [("provider", "ok"), ("cache", "ok"), ("provider", "ok")]


async def test_only_outside_missing_usage_on_finish_finds_an_estimate(serve: Any) -> None:
    finished: dict[str, Any] = {}

    class Inner(Plugin):
        def on_finish(self, exchange: Any) -> None:
            finished[self.name] = exchange.usage_source

    class Outer(Inner):
        pass

    async with FakeProvider(default=Script(usage="off")) as provider:
        app = gateway(provider, Inner, {"use": Outer, "before": "MissingUsage"})
        async with serve(app) as url, openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="sk-k") as client:
            await client.chat.completions.create(model="m", messages=HELLO)
    assert finished == {"Inner": "none", "Outer": "estimated"}


async def test_on_refused_is_called_before_an_app_and_not_in_the_gateway(serve: Any) -> None:
    refused: list[int] = []

    class Asks(Plugin):
        reads_body = True

        def on_refused(self, exchange: Any, refusal: Any) -> bool:
            refused.append(refusal.status)
            return False

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 400, "headers": headers})
        await send({"type": "http.response.body", "body": b"{}"})

    await drive(PluginMiddleware(app, plugins=[Asks()]), body={"model": "m"})
    assert refused == [400]
    async with FakeProvider(default=Script.error(400, "No.")) as provider:
        async with (
            serve(gateway(provider, Asks)) as url,
            openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="sk-k") as client,
        ):
            with pytest.raises(openai.BadRequestError):
                await client.chat.completions.create(model="m", messages=HELLO)
    assert refused == [400]


def gateway(provider: FakeProvider, *plugins: Any) -> Gateway:
    upstream = {"model": "openai/x", "api_base": provider.base_url}
    models = [{"model_name": "m", "litellm_params": upstream, "handler": "direct"}]
    return Gateway(model_list=models, keys=[{"id": "k", "secret": "sk-k"}], plugins=list(plugins))
