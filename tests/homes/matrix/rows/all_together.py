"""Rows of the matrix: what all requests come to. What leaves no record is asked for last."""

from typing import Any

import openai
import pytest

from tests.homes.matrix.cells import behaviour
from tests.homes.matrix.home import Home, every_request_has_ended, until
from tests.homes.matrix.litellm_homes import SDK
from tests.homes.matrix.rows.answers import error_of
from tests.homes.matrix.rows.what_goes_wrong import failing
from tests.homes.matrix.witness import BLOCKED, lives


@behaviour("metrics")
def the_counters_are_the_sums_of_the_records(home: Home) -> None:
    home.complete("counted", stream=False)
    home.complete("counted", stream=True)
    home.records("counted", 2)

    def paid(row: Any) -> bool:
        return bool(row["usage_source"] != "cache")

    def sums() -> bool:
        rows, counted = home.book(), home.counted()
        return (
            counted["requests_total"] == len(rows)
            and counted["input_tokens_total"] == sum(row["input_tokens"] for row in rows if paid(row))
            and counted["output_tokens_total"] == sum(row["output_tokens"] for row in rows if paid(row))
            and round(counted["cost_usd_total"] * 1e6) == sum(row["cost_micro_usd"] or 0 for row in rows)
            and counted["requests_in_flight"] == 0
        )

    until(sums, f"{home.counted()} to agree with {[dict(row) for row in home.book()]}")


def own_plugins_of_calls(home: Home) -> None:
    before, _ = lives(home.folder, "innermost")
    home.complete("caller", stream=False)
    home.provider.enqueue(failing(500))
    with pytest.raises(openai.APIError):
        home.complete("caller", stream=True)
    until(lambda: len(lives(home.folder, "innermost")[1]) == len(before) + 2, "the end of two calls")
    every_request_has_ended(home)


def own_plugins_behind_the_hosts_keys(home: Home) -> None:
    before, _ = lives(home.folder, "outermost")
    assert home.post("caller", more_headers={BLOCKED: "yes"}).status_code == 403
    assert home.post("stranger", more_headers={BLOCKED: "yes"}).status_code == 401
    until(lambda: len(lives(home.folder, "outermost")[1]) == len(before) + 1, "the end of one request")
    every_request_has_ended(home)


@behaviour(
    "plugins of one's own",
    instead={
        SDK: own_plugins_of_calls,
        "gateway-mounted": own_plugins_behind_the_hosts_keys,
        "litellm-own-keys": own_plugins_behind_the_hosts_keys,
    },
)
def a_plugin_outside_auth_refuses_with_and_without_a_key_and_all_that_were_entered_finish(home: Home) -> None:
    (outside, _), (inside, _) = lives(home.folder, "outermost"), lives(home.folder, "innermost")
    for key_id in ("caller", "stranger", None):
        answer = home.post(key_id, more_headers={BLOCKED: "yes"})
        assert answer.status_code == 403
        assert error_of(answer)["code"] == "address_blocked"
    assert home.post("stranger").status_code == 401
    assert home.provider.received == 0
    assert home.post("caller", stream=True).status_code == 200
    until(lambda: len(lives(home.folder, "outermost")[1]) == len(outside) + 5, "the end of five requests")
    until(lambda: len(lives(home.folder, "innermost")[1]) == len(inside) + 1, "the end of one request")
    every_request_has_ended(home)
    until(lambda: home.counted()["requests_in_flight"] == 0, "no request in flight")
