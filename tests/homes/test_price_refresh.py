"""A list of prices is read again while requests are served: off the event loop, and no failure ends it."""

import asyncio
import json
import logging

import pytest

from crplugins.config import ConfigError, parse_config
from crplugins.homes.price_refresh import PriceRefresh
from crplugins.metering.listed_prices import ListedPrices, installed_source


def write(file, usd):
    """In its place at once."""
    new = file.with_suffix(".new")
    new.write_text(json.dumps({"mine": {"input_cost_per_token": usd / 1e6, "output_cost_per_token": usd / 1e6}}))
    new.replace(file)


@pytest.fixture
def file(tmp_path):
    write(tmp_path / "prices.json", 1)
    return tmp_path / "prices.json"


async def until(condition):
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_a_new_list_counts_without_a_restart_and_a_broken_one_is_logged_once(file, caplog):
    words = {"prices": {"file": str(file)}, "model_list": MODELS}
    config = await asyncio.to_thread(parse_config, words)
    listed = config.listed_prices
    listed.refresh_seconds = 0.01
    (deployment,) = config.deployments()

    def price():
        return deployment.price_for("m").input

    await asyncio.to_thread(listed)
    async with PriceRefresh(listed):
        assert price() == 1_000_000
        await asyncio.to_thread(write, file, 2)
        await until(lambda: price() == 2_000_000)
        with caplog.at_level(logging.WARNING, "crplugins.pricing"):
            await asyncio.to_thread(file.write_text, "{")
            await until(lambda: "cannot be read" in listed.source)
            await asyncio.sleep(0.1)
            assert price() == 2_000_000
            await asyncio.to_thread(write, file, 3)
            await until(lambda: price() == 3_000_000)
        warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert [record.getMessage() for record in warnings] == [
            f"the list of prices.file {file} cannot be read: it is no JSON object of models; the last good one still counts"
        ]


async def test_without_a_list_of_ones_own_it_only_finds_out_which_one_counts():
    listed = ListedPrices()
    refresh = PriceRefresh(listed)
    async with refresh:
        assert refresh._task is None
        assert listed.source == installed_source()


def test_a_configuration_has_one_list_for_all_who_ask(file):
    config = parse_config({"prices": {"file": str(file), "refresh_seconds": 5}, "model_list": MODELS})
    assert config.listed_prices is config.listed_prices
    assert config.listed_prices.refresh_seconds == 5
    assert [each.price_for("m").input for each in config.deployments()] == [1_000_000]


def test_a_configuration_that_follows_another_keeps_its_list_unless_it_has_another(file):
    """The handlers of deployments that are the same in both are kept, and look prices up in the list they know."""
    first, same, other = (
        parse_config({"prices": {"file": str(file), "refresh_seconds": seconds}, "model_list": MODELS})
        for seconds in (5, 5, 6)
    )
    for config in (same, other):
        config.keep_prices_of(first)
    assert same.listed_prices is first.listed_prices
    assert other.listed_prices is not first.listed_prices


MODELS = [{"model_name": "m", "litellm_params": {"model": "mine", "api_base": "http://127.0.0.1:9/v1"}}]


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({}, "prices: needs one of file and url"),
        ({"file": "a", "url": "http://b"}, "prices: needs one of file and url"),
        ({"url": "ftp://b/c"}, "prices.url: must be a URL with a host"),
        ({"url": "https://"}, "prices.url: must be a URL with a host"),
        ({"file": "missing.json"}, "prices.file: cannot be read as a list of prices: No such file or directory"),
        ({"file": "f", "refresh_seconds": 0}, "prices.refresh_seconds"),
    ],
)
def test_what_cannot_be_read_again_is_a_mistake_of_the_configuration(section, message):
    with pytest.raises(ConfigError, match=message):
        parse_config({"prices": section})
