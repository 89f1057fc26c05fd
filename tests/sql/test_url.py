"""Database URLs as people, hosts of databases and other libraries write them."""

import asyncio
import ssl
from pathlib import Path

import pytest
from sqlalchemy import text

import crplugins.sql
from crplugins.sql.engine import make_engine
from crplugins.sql.postgresql_words import KNOWN
from crplugins.sql.url import driver_arguments, read_database_url

H = "postgresql://u:hunter2@h/db"


def words_of(query):
    return read_database_url(f"{H}?{query}").words


@pytest.mark.parametrize(
    ("given", "driver"),
    [
        ("sqlite:///gw.db", "sqlite+aiosqlite"),
        ("sqlite:///file:gw.db?mode=ro&uri=true", "sqlite+aiosqlite"),
        ("postgres://u:p@h:1/db", "postgresql+asyncpg"),
        ("postgresql+psycopg2://h/db?sslmode=require", "postgresql+asyncpg"),
    ],
)
def test_urls_get_their_async_driver(given, driver):
    assert read_database_url(given).engine.drivername == driver


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("sqlite:///gw.db\n", "sqlite:///gw.db"),
        ("postgresql://u:hunter2@h:1/db?sslpassword=hunter2&sslmode=require\r\n", "postgresql://u:***@h:1/db"),
        ("postgresql://u@a:1,b:2/db", "postgresql://u@a:1,b:2/db"),
        ("postgresql:///db?host=/run/postgresql", "postgresql:///db"),
        ("postgresql://u:p%2Fa%3F@[::1]:5/db", "postgresql://u:***@[::1]:5/db"),
    ],
)
def test_a_url_is_shown_without_its_password_and_without_its_words(given, shown):
    assert str(read_database_url(given)) == shown
    assert "hunter2" not in repr(read_database_url(given))


def test_a_password_may_have_the_characters_that_end_other_parts_of_a_url():
    assert read_database_url("postgresql://u:a/b?c#d%40@h/db").engine.password == "a/b?c#d@"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "mysql://u:hunter2@h/db",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///gw.db?timeout=5",
        "postgresql://u:hunter2@h:port/db",
        "postgresql://u:hunter2@h:0/db",
        "postgresql://u:hunter2@h:1,h:99999/db",
        "jdbc:postgresql://u:hunter2@h/db",
    ],
)
def test_another_url_is_refused_without_repeating_it(url):
    with pytest.raises(ValueError, match="^must") as caught:
        read_database_url(url)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    "query",
    [
        "channel_binding=require",
        "gssencmode=require",
        "keepalives_idle=30",
        "replication=database",
        "statement_cache_size=many",
        "connection_limit=0",
        "connect_timeout=soon",
        "sslmode=no-verify",
        "ssl=true",
        "sslmode=verify-full",
        "sslmode=require&ssl=prefer",
        "sslrootcert=/there/is/no.pem",
        "sslrootcert=system&sslmode=require",
        "sslcert=/there/is/no.pem",
        "sslnegotiation=direct",
        "sslaccept=strict",
        "search_path=hunter2",
        "currentSchema=hunter2",
        "target_session_attrs=any-old",
        "hostaddr=10.0.0.1",
        "supa=base-pooler.x",
        "schema=a&schema=b",
    ],
)
def test_a_word_that_cannot_be_kept_is_refused_by_its_name_and_without_its_value(query, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("PGSSLROOTCERT", raising=False)
    with pytest.raises(ValueError, match=query.partition("=")[0]) as caught:
        read_database_url(f"{H}?{query}")
    assert "hunter2" not in str(caught.value)


def test_a_misspelt_word_is_told_from_its_neighbour_and_a_piece_of_something_else_is_not_repeated():
    with pytest.raises(ValueError, match="did you mean 'sslrootcert'"):
        words_of("sslrootcerts=x")
    with pytest.raises(ValueError, match="a query parameter that libpq does not have") as caught:
        words_of("hun-ter2!=x")
    assert "hun" not in str(caught.value)


@pytest.mark.parametrize(
    "query",
    [
        "channel_binding=prefer",
        "gssencmode=disable",
        "pgbouncer=true",
        "statement_cache_size=0",
        "prepared_statement_cache_size=0",
        "client_encoding=UTF8",
        "load_balance_hosts=disable",
        "connect_timeout=0",
        "sslmode=",
    ],
)
def test_a_word_that_asks_for_what_is_done_anyway_changes_nothing(query):
    assert words_of(query) == read_database_url(H).words


def test_words_become_arguments_of_the_driver_and_no_statement_is_named_or_kept():
    query = (
        "sslmode=require&application_name=gw&options=-c%20jit%3Doff&sslnegotiation=direct&target_session_attrs=primary"
    )
    made = driver_arguments(read_database_url(f"postgresql://u@a:1,b:2/db?{query}"), 5)
    assert made["dsn"] == "postgresql://a:1,b:2?sslmode=require&target_session_attrs=primary"
    assert made["server_settings"] == {"application_name": "gw", "options": "-c jit=off"}
    assert made["direct_tls"] is True
    assert (made["statement_cache_size"], made["prepared_statement_cache_size"]) == (0, 0)
    assert made["prepared_statement_name_func"]() == ""


def test_bounds_of_a_url_are_kept_where_they_are_shorter():
    made = driver_arguments(read_database_url(f"{H}?connect_timeout=2&socket_timeout=30"), 5)
    assert (made["timeout"], made["command_timeout"]) == (2, 5)


def test_the_certificates_of_the_system_judge_the_server_where_the_url_says_so():
    context = driver_arguments(read_database_url(f"{H}?sslmode=verify-full&sslrootcert=system"), 5)["ssl"]
    assert (context.check_hostname, context.verify_mode) == (True, ssl.CERT_REQUIRED)


@pytest.mark.parametrize(
    ("query", "setting", "value"),
    [
        ("application_name=gw", "application_name", "gw"),
        ("fallback_application_name=gw", "application_name", "gw"),
        ("options=-c%20search_path%3Dpg_catalog", "search_path", "pg_catalog"),
        ("schema=pg_catalog", "search_path", "pg_catalog"),
        ("sslmode=disable&channel_binding=prefer&target_session_attrs=read-write&connect_timeout=10", "jit", "on"),
    ],
)
async def test_a_real_server_takes_the_words(postgres_url, query, setting, value):
    engine = await asyncio.to_thread(make_engine, read_database_url(f"{postgres_url}&{query}"), 5)
    async with engine.connect() as connection:
        assert (await connection.execute(text(f"SHOW {setting}"))).scalar_one().strip('"') == value
    await engine.dispose()


def test_every_word_is_listed_on_the_page():
    page = (Path(crplugins.sql.__file__).parent / "README.md").read_text()
    assert [word for word in KNOWN if f"`{word}`" not in page] == []
