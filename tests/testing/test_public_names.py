import subprocess
import sys

import crplugins.testing


def test_every_exported_name_is_there_and_documented() -> None:
    for name in crplugins.testing.__all__:
        assert getattr(crplugins.testing, name).__doc__, name


def test_only_base_dependencies_are_imported() -> None:
    code = "import sys, crplugins.testing; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"aiohttp", "openai", "httpx", "litellm", "pytest", "uvloop", "pydantic"} & set(loaded)
