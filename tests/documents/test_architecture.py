"""The pages that say which folder and which module to open."""

import re

import pytest

import crplugins
from crplugins import Plugin, PluginMiddleware
from tests.conftest import CHECKOUT
from tests.documents.pages import anchors, inline_code, pages, text_of

PACKAGE = CHECKOUT / "crplugins"


def test_every_folder_of_the_package_has_its_row() -> None:
    table = text_of("crplugins/README.md").partition("| folder |")[2].partition("\n\n")[0]
    told = set(re.findall(r"^\| \[?`(\w+)/`", table, re.MULTILINE))
    assert told == {path.parent.name for path in PACKAGE.glob("*/__init__.py")}


@pytest.mark.parametrize("page", [page for page in pages() if page.startswith("crplugins/") or "/" not in page])
def test_every_module_that_a_page_names_is_there(page: str) -> None:
    here = (CHECKOUT / page).parent
    named = [
        code
        for code in inline_code(page)
        if re.fullmatch(r"[\w/]+(\.py|/)", code) and not code.startswith(("/", "openai/"))
    ]
    missing = [name for name in named if not any((folder / name).exists() for folder in (here, PACKAGE, CHECKOUT))]
    assert not missing, f"{page} names {missing}"


def test_every_plugin_and_every_middleware_has_its_row_and_its_section() -> None:
    page = "crplugins/plugins/README.md"
    table = text_of(page).partition("| plugin |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| \[(\w+)\]\(#(\w+)\) \|.*\|(?: `(\w+)`)? \|$", table, re.MULTILINE)
    public = {name: getattr(crplugins, name) for name in dir(crplugins) if name != "__version__"}
    kinds = {name: value for name, value in public.items() if isinstance(value, type)}
    plugins = {name for name, kind in kinds.items() if issubclass(kind, Plugin) and kind is not Plugin}
    assert {plugin for plugin, _, _ in rows} == plugins
    assert {anchor for _, anchor, _ in rows} <= anchors(page)
    assert {name for _, _, name in rows if name} == {
        name for name, kind in kinds.items() if issubclass(kind, PluginMiddleware) and kind is not PluginMiddleware
    }
