import subprocess
import sys

import crplugins.testing


def test_every_exported_name_is_there_and_documented() -> None:
    for name in crplugins.testing.__all__:
        assert getattr(crplugins.testing, name).__doc__, name


def test_only_base_dependencies_are_imported() -> None:
    code = "import sys, crplugins.testing; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"aiohttp", "openai", "h11", "httpx", "litellm", "pytest", "uvloop", "pydantic"} & set(loaded)


def test_only_the_provider_needs_an_extra_and_says_which() -> None:
    code = "import sys; sys.modules['h11'] = None\nfrom crplugins.testing import PluginContract, drive, lifespan\n{}"
    asked = code.format("from crplugins.testing import FakeProvider")
    subprocess.run([sys.executable, "-c", code.format("")], check=True)
    refused = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=False)
    assert refused.stderr.splitlines()[-1] == "ImportError: FakeProvider needs: pip install 'crplugins[testing]'"
