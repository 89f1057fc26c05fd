"""The page on handlers lists every endpoint, under the name that its records have and the path that it is asked on."""

import re
from pathlib import Path
from typing import get_args

import crplugins
from crplugins.config.server import EndpointName
from crplugins.core.dialects import ALL

PAGE = Path(crplugins.__file__).parent / "handlers" / "README.md"


def test_the_page_lists_every_endpoint_with_its_path() -> None:
    section = PAGE.read_text("utf-8").partition("## Endpoints")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| `([/\w]+)` \|", section, re.MULTILINE)
    assert rows == [(each.name, each.path) for each in ALL]


def test_every_endpoint_can_be_named_in_the_file() -> None:
    assert get_args(EndpointName) == tuple(each.name for each in ALL)
