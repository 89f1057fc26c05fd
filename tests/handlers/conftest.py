from typing import Any

import pytest

from tests import gateway_setup


@pytest.fixture
def behind(serve: Any) -> gateway_setup.Behind:
    return gateway_setup.behind(serve)
