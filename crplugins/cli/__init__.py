"""The `crplugins` command. This file needs no extra, so that it can report when `gateway` or `slim` is missing."""

import sys
from importlib.util import find_spec
from typing import Final

_NEEDED: Final = ("typer", "rich", "uvicorn", "httptools", "aiohttp")


def main() -> None:
    """Runs the command line and exits: 0 done, 1 refused or found wanting, 2 usage or configuration."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        needs = f"crplugins needs {', '.join(missing)}. Run: pip install 'crplugins[gateway]'"
        sys.stderr.write(f"{needs}, or 'crplugins[slim]', which is the same without litellm\n")
        sys.exit(2)
    from crplugins.core.without_collector import without_collector

    with without_collector():
        from crplugins.cli.app import run
    run()
