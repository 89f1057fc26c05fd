"""The pages that say which folder and which module to open."""

import re

import pytest

from tests.conftest import CHECKOUT
from tests.documents.pages import inline_code, pages, text_of

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
