"""`crplugins keys show`: how the limits and the budget of a key stand."""

# ruff: noqa: F811  # fixtures of another module

import json

import pytest

from crplugins.limits.limit import Charge, Limit, Reservation
from crplugins.limits.opening import open_limit_store
from tests.cli.test_keys import Command, blockbuster, command, keys, made  # noqa: F401  # fixtures

CONFIG = """\
model_list: [{{model_name: m, litellm_params: {{model: openai/m, api_base: "http://127.0.0.1:9/v1"}}}}]
keys: {{file: keys.yaml}}
limits: {{store: "{store}"}}
budgets: {{per_team: {{search: {{usd: 100, period: month}}}}}}
"""
NEW = "keys new --id a --team search --limit requests_per_minute=60 --budget usd=5/month".split()


async def _use_seven(url):
    async with open_limit_store(url) as store:
        limit = Limit("meter", "key/a/requests/60000", 60, 60_000, 60)
        await store.reserve(Reservation("r", (Charge(limit, 7),)))


@pytest.fixture
def used():
    import asyncio

    return lambda url: asyncio.run(_use_seven(url))


def test_what_is_used_of_each_limit_is_shown(command, used, tmp_path):
    url = f"sqlite:///{tmp_path}/limits.db"
    (tmp_path / "gateway.yaml").write_text(CONFIG.format(store=url))
    assert command(*NEW)[0] == 0
    used(url)
    shown = json.loads(command("keys", "show", "a", "--json")[1])["standing"]
    assert [(entry["limit"], entry["scope"], entry["of"], entry["amount"]) for entry in shown] == [
        ("requests_per_minute", "key", "a", 60),
        ("budget per month", "key", "a", 5.0),
        ("budget per month", "team", "search", 100.0),
    ]
    assert 1 <= shown[0]["used"] <= 7  # it drains by one a second, and a busy machine takes some
    assert "requests_per_minute" in command("keys", "show", "a")[1]


def test_limits_in_the_memory_of_the_gateway_are_said_to_be_there(command, tmp_path):
    (tmp_path / "gateway.yaml").write_text(CONFIG.format(store="memory"))
    command(*NEW)
    assert json.loads(command("keys", "show", "a", "--json")[1])["standing"] is None
    assert "in the memory of the gateway" in command("keys", "show", "a")[1]
