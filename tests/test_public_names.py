"""What an author of plugins needs is importable from `crplugins`, and loads nothing of the gateway."""

import subprocess
import sys

import crplugins

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
