"""Databases, each test's own."""

import pytest

from tests.pooler_setup import pooled_url, pooler  # noqa: F401  # fixtures
from tests.postgresql_setup import (  # noqa: F401  # fixtures
    allow_drivers_to_block,
    database_url,
    postgres,
    postgres_url,
    sqlite_url,
)


@pytest.fixture(autouse=True)
def what_may_block(blockbuster):
    allow_drivers_to_block(blockbuster)
