"""Rows of the matrix: how much is let through."""

from contextlib import ExitStack

import openai
import pytest

from crplugins.testing import Script, usage_object
from tests.homes.matrix.cells import CELLS, behaviour
from tests.homes.matrix.home import HELLO, Home, every_request_has_ended
from tests.homes.matrix.rows.answers import error_of
from tests.homes.matrix.words import (
    ALIAS,
    LOW_PLACES,
    MAX_IN_FLIGHT,
    REQUESTS,
    SESSION_REQUESTS,
    UNPRICED_ALIAS,
    USER_REQUESTS,
)


@behaviour("limits")
def exactly_as_many_pass_as_the_limit_says(home: Home) -> None:
    answers = home.post_at_once(REQUESTS + 5, "limited", max_tokens=5)
    passed = [answer for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert (len(passed), len(refused)) == (REQUESTS, 5), [answer.text for answer in answers]
    assert home.provider.received == REQUESTS
    for answer in answers:
        assert answer.headers["x-ratelimit-limit-requests"] == str(REQUESTS)
        assert answer.headers["x-ratelimit-limit-tokens"] == "100000"
        assert answer.headers["x-ratelimit-reset-requests"]
    assert sorted(answer.headers["x-ratelimit-remaining-requests"] for answer in passed) == ["0", "1", "2"]
    for answer in refused:
        error = error_of(answer)
        assert error["message"].startswith("Rate limit reached for fast in organization limited on requests per")
        assert (error["type"], error["code"]) == ("requests", "rate_limit_exceeded")
        assert 0 < int(answer.headers["retry-after"]) <= 60
    rows = home.records("limited", REQUESTS + 5)
    assert sorted(row["outcome"] for row in rows) == ["limited"] * 5 + ["ok"] * REQUESTS


@behaviour("waiting for limits")
def what_a_limit_would_refuse_waits_for_its_turn(home: Home) -> None:
    """One in two seconds: without its queue the other would be refused."""
    answers = home.post_at_once(2, "patient", max_tokens=5)
    assert [answer.status_code for answer in answers] == [200, 200], [answer.text for answer in answers]
    assert {answer.headers.get("x-crplugins-queue-position") for answer in answers} == {None, "1"}
    assert [row["outcome"] for row in home.records("patient", 2)] == ["ok", "ok"]


@behaviour("limits of long streams")
def a_stream_that_grows_beyond_what_was_reserved_leaves_less_to_others_while_it_runs(home: Home) -> None:
    """1,024 tokens are reserved for the stream; 100 of the limit of 1,500 would be left, had it not said 1,400."""
    home.provider.enqueue(Script(text="word " * 6_000, chunk_size=500, frame_delay=0.02))
    said = 0
    with home.client("long").chat.completions.create(model=ALIAS, messages=HELLO, stream=True) as stream:
        while said < 1_400:
            choices = next(stream).choices
            said += len(choices[0].delta.content or "") // 4 if choices else 0
        assert home.post("long", max_tokens=100).status_code == 429


@behaviour("a full process")
def a_key_of_low_priority_is_refused_while_there_is_room_for_others(home: Home) -> None:
    every_request_has_ended(home)  # what others have left behind has a place too
    assert home.post("caller").status_code == 200  # from here on there are keys of a higher priority
    # Two minutes, which nobody waits for, as they end when their client leaves; twelve seconds where nobody notices that.
    words = 120 if (home.name, "a client that leaves") in CELLS else 1200
    home.provider.enqueue(*[Script(text="word " * words, chunk_size=5, frame_delay=0.1)] * LOW_PLACES)
    nightly = home.client("nightly")
    with ExitStack() as streams:
        for _ in range(LOW_PLACES):
            stream = nightly.chat.completions.create(model=ALIAS, messages=HELLO, stream=True)
            next(streams.enter_context(stream))
        refused = home.post("nightly")
        assert home.post("caller").status_code == 200
    assert refused.status_code == 503
    error = error_of(refused)
    assert (error["type"], error["code"]) == ("server_error", "server_full")
    assert f"server.max_in_flight: {MAX_IN_FLIGHT}" in error["message"]
    assert 1 <= int(refused.headers["retry-after"]) <= 2
    rows = home.records("nightly", LOW_PLACES + 1)
    assert [row["error_type"] for row in rows if row["status"] == 503] == ["overloaded"]
    assert home.counted()["shed_requests_total"] == 1
    home.wait_for_provider()


@behaviour("budgets")
def a_spent_budget_is_an_insufficient_quota(home: Home) -> None:
    home.provider.enqueue(Script(usage_object=usage_object(1000, 500)))  # 2,000 micro-USD of 1,000
    assert home.post("poor", max_tokens=5).status_code == 200
    [row] = home.records("poor", 1)
    assert row["cost_micro_usd"] == 2000
    with pytest.raises(openai.RateLimitError, match="You exceeded your current quota") as refused:
        home.client("poor").chat.completions.create(model=ALIAS, messages=HELLO)
    assert (refused.value.type, refused.value.code) == ("insufficient_quota", "insufficient_quota")
    assert refused.value.response.headers["x-should-retry"] == "false"
    assert home.provider.received == 1
    row = home.records("poor", 2)[1]
    assert (row["status"], row["outcome"], row["error_type"]) == (429, "limited", "budget_exceeded")


@behaviour("limits of end users")
def each_end_user_of_a_key_has_the_limit_to_itself(home: Home) -> None:
    statuses = [home.post("app", user=user).status_code for user in ("ann", "ann", "ben", "ann")]
    assert statuses == [200, 200, 200, 429]
    answer = home.post("app", safety_identifier="ann")
    error = error_of(answer)
    assert error["message"].startswith("Rate limit reached for fast for this user on requests per day (RPD): Limit 2")
    assert (error["type"], error["code"]) == ("requests", "rate_limit_exceeded")
    assert int(answer.headers["retry-after"]) > 60
    assert [home.post(key_id).status_code for key_id in ("app", "caller")] == [200, 200]
    assert home.provider.received == USER_REQUESTS + 3
    assert not any("ann" in str(value) for _, labels, _ in home._samples() for value in labels.values())


@behaviour("limits of sessions")
def a_session_ends_with_its_last_request_and_is_not_retried(home: Home) -> None:
    run = {"x-session-id": "run-7"}
    for left in reversed(range(SESSION_REQUESTS)):
        answer = home.post("agent", more_headers=run, max_tokens=5)  # a session has a budget too, in another test
        assert (answer.status_code, answer.headers["x-ratelimit-remaining-requests"]) == (200, str(left))
    client = home.client("agent").with_options(max_retries=2, default_headers=run)
    with pytest.raises(openai.PermissionDeniedError) as refused:
        client.chat.completions.create(model=ALIAS, messages=HELLO, max_tokens=5)
    assert (refused.value.type, refused.value.code) == ("session_limit", "session_limit_exceeded")
    assert refused.value.response.headers["x-should-retry"] == "false"
    assert "retry-after" not in refused.value.response.headers
    rows = home.records("agent", SESSION_REQUESTS + 1)
    assert (rows[-1]["status"], rows[-1]["outcome"], rows[-1]["error_type"]) == (403, "limited", "rate_limited")
    assert home.post("agent", metadata={"session_id": "run-7"}, max_tokens=5).status_code == 403
    assert home.post("agent", metadata={"session_id": "run-8"}, max_tokens=5).status_code == 200
    assert home.provider.received == SESSION_REQUESTS + 1


@behaviour("budgets of sessions")
def a_session_ends_when_its_money_is_spent(home: Home) -> None:
    for _ in range(2):  # 2,000 micro-USD each, of 3,000
        home.provider.enqueue(Script(usage_object=usage_object(1000, 500)))
    run = {"x-session-id": "run-9"}
    statuses = [home.post("spender", more_headers=run, max_tokens=5).status_code]
    home.records("spender", 1)  # it has been settled
    statuses += [home.post("spender", more_headers=run, max_tokens=5).status_code]
    home.records("spender", 2)
    answer = home.post("spender", more_headers=run, max_tokens=5)
    assert [*statuses, answer.status_code] == [200, 200, 403]
    error = error_of(answer)
    assert (error["type"], error["code"]) == ("session_limit", "session_budget_exceeded")
    assert "0.004 of 0.003 USD" in error["message"]
    assert home.post("spender", more_headers={"x-session-id": "run-10"}, max_tokens=5).status_code == 200
    assert home.provider.received == 3


@behaviour("a model without a price")
def under_a_budget_a_model_without_a_price_is_refused(home: Home) -> None:
    answer = home.post("careful", model=UNPRICED_ALIAS)
    assert answer.status_code == 400
    error = error_of(answer)
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", "model", "unknown_price")
    assert f"`{UNPRICED_ALIAS}`" in error["message"]
    assert "`model_info`" in error["message"]
    assert home.provider.received == 0
    [row] = home.records("careful", 1)
    assert (row["status"], row["outcome"], row["error_type"]) == (400, "client_error", "invalid_request")
    assert home.post("careful").status_code == 200
    assert home.post("caller", model=UNPRICED_ALIAS).status_code == 200
