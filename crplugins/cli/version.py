"""`crplugins version`: what is installed here."""

import json
import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from typing import Annotated, Final

import typer

from crplugins import __version__

_BESIDE: Final = ("litellm", "uvicorn")
"""Packages whose release explains most of what is asked about."""


def version(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone on stdout.")] = False,
) -> None:
    """Show the release of crplugins, of Python, and of what it stands on."""
    found = {"crplugins": __version__, "python": platform.python_version()}
    found |= {name: _release(name) or "not installed" for name in _BESIDE}
    if as_json:
        typer.echo(json.dumps({name: None if text == "not installed" else text for name, text in found.items()}))
        return
    for name, text in found.items():
        typer.echo(f"{name} {text}")


def _release(package: str) -> str | None:
    """Imports nothing: litellm alone would take seconds."""
    try:
        return installed(package)
    except PackageNotFoundError:
        return None
