"""Database URLs as people write them."""

import pytest

from crplugins.sql.url import async_url


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("sqlite:///gw.db", "sqlite+aiosqlite:///gw.db"),
        ("postgres://u:p@h:1/db", "postgresql+asyncpg://u:p@h:1/db"),
        ("postgresql+psycopg2://h/db?sslmode=require", "postgresql+asyncpg://h/db?ssl=require"),
    ],
)
def test_urls_get_their_async_driver(given, used):
    assert async_url(given).render_as_string(hide_password=False) == used


@pytest.mark.parametrize(
    "url",
    ["", "nonsense", "mysql://u:hunter2@h/db", "sqlite://", "sqlite:///:memory:", "postgresql://u:hunter2@h:port/db"],
)
def test_another_url_is_refused_without_repeating_it(url):
    with pytest.raises(ValueError) as caught:
        async_url(url)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
