"""litellm, imported once, without the network."""

from typing import Any

import pytest

from crplugins.handlers.litellm.loading import load_litellm


@pytest.fixture(scope="session")
def litellm_module() -> Any:
    return load_litellm()
