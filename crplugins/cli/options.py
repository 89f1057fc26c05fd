"""The options that several commands have, and what they do with what they are given."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar
from urllib.parse import urlsplit

import typer

T = TypeVar("T")

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="The YAML file. Without it: CRPLUGINS_CONFIG, else gateway.yaml in this folder, else the demo model.",
    ),
]

LedgerOption = Annotated[
    str | None,
    typer.Option(
        "--ledger", metavar="URL", help="sqlite:///usage.db or postgresql://... Without it: the configuration's."
    ),
]


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return text
    except ValueError:  # an invalid port
        pass
    raise typer.BadParameter("an address such as http://127.0.0.1:4000")


UrlOption = Annotated[
    str | None,
    typer.Option("--url", parser=_url, metavar="URL", help="The gateway's address. Without it: the configuration's."),
]


def read_option(option: str, reading: Callable[[], T]) -> T:
    """What `reading` makes of the option. A ValueError of it ends the command with 2 and its message."""
    try:
        return reading()
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None
