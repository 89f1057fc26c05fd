"""Every behaviour in every home, over real sockets, with the same words of configuration and a scripted provider.

Rows are the tests of this file, columns the homes. What a home cannot do stands in `matrix/cells.py` with its reason.
"""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import httpx
import openai
import pytest

from crplugins.testing import Script, usage_object
from tests.conftest import CHECKOUT
from tests.homes.matrix.cells import APPS, CALLBACKS, behaviour, expected_table, written_table
from tests.homes.matrix.home import HELLO, Home, until
from tests.homes.matrix.hosts import APPS as FRAMEWORKS
from tests.homes.matrix.in_process import STARTED, in_process
from tests.homes.matrix.litellm_homes import PROXIES, SDK, proxy, sdk
from tests.homes.matrix.witness import BLOCKED, FROM_CACHE, REMEMBERED, lives, unfinished
from tests.homes.matrix.words import (
    ALIAS,
    HIDDEN,
    MAX_BODY,
    REQUESTS,
    SERVED,
    SESSION_REQUESTS,
    UNPRICED_ALIAS,
    UPSTREAM_KEY,
    USER_REQUESTS,
)
from tests.proxy_setup import needs_proxy

ASKING: Any = {"stream_options": {"include_usage": True}}
ADDRESS = "10.1.2.3:8080"
TALE = Script(text="word " * 400, chunk_size=5, frame_delay=0.02)
"""Longer than anybody listens."""


pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:::pydantic", "ignore:::litellm", "ignore:Pydantic serializer warnings"),
]


@pytest.fixture(autouse=True)
def hosts_may_block(blockbuster):
    """What a framework does on the event loop is its own affair, but has code of ours further out on its stack."""
    blockbuster.deactivate()
    yield
    blockbuster.activate()


HOMES = [*STARTED, SDK, *(pytest.param(name, marks=needs_proxy) for name in PROXIES)]


@pytest.fixture(scope="module")
def proxies(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Home]]:
    """LiteLLM's proxies. Each takes ten seconds to start, so all that a test of this run wants start at once."""
    wanted = {item.callspec.params.get("started") for item in request.session.items if hasattr(item, "callspec")}
    names = [name for name in PROXIES if name in wanted]
    with ExitStack() as stack, ThreadPoolExecutor() as threads:
        opened = threads.map(lambda name: stack.enter_context(proxy(name, tmp_path_factory.mktemp(name))), names)
        yield dict(zip(names, opened, strict=True))


@pytest.fixture(scope="module", params=HOMES)
def started(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    name = request.param
    if name in PROXIES:
        home = request.getfixturevalue("proxies")[name]
        yield home
        every_request_has_ended(home)
        return
    if name in FRAMEWORKS:
        pytest.importorskip(name)
    folder = tmp_path_factory.mktemp("home")
    with sdk(folder) if name == SDK else in_process(name, folder) as home:
        yield home
        every_request_has_ended(home)


def every_request_has_ended(home: Home) -> None:
    """Exactly once in each plugin that it has entered, whatever has become of it in the tests of this home."""
    until(
        lambda: not unfinished(home.folder), f"the end of {unfinished(home.folder)} ({home.log()[-3000:]})", within=20
    )


@pytest.fixture
def home(started: Home) -> Home:
    started.provider.clear()
    return started


def chunks_of(answer: httpx.Response) -> list[dict[str, Any]]:
    """The chunks of a whole stream, which must end with [DONE]."""
    events = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]", answer.text
    return [json.loads(event) for event in events[:-1]]


def error_of(answer: httpx.Response) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/json"
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


# Who may come in, and what it may call.


def the_app_says_who_calls(home: Home) -> None:
    for key_id in (None, "stranger"):
        answer = home.post(key_id)
        assert answer.status_code == 401
        assert error_of(answer)["message"] == "You are not signed in."
    assert home.provider.received == 0


def litellm_says_who_calls(home: Home) -> None:
    for key_id in (None, "stranger"):
        assert home.post(key_id).status_code == 401
    assert home.provider.received == 0


@behaviour("keys", instead={"gateway-mounted": the_app_says_who_calls, "litellm-own-keys": litellm_says_who_calls})
def test_without_a_good_key_nobody_comes_in(home: Home) -> None:
    asked = {
        None: ("You didn't provide an API key.", None),
        "stranger": ("Incorrect API key provided: sk-****cdef.", "invalid_api_key"),
        "expired": ("This API key has expired.", "invalid_api_key"),
    }
    for key_id, (message, code) in asked.items():
        answer = home.post(key_id)
        assert answer.status_code == 401
        error = error_of(answer)
        assert error["message"].startswith(message)
        assert (error["type"], error["code"]) == ("invalid_request_error", code)
        assert answer.headers["www-authenticate"].startswith("Bearer")
    with pytest.raises(openai.AuthenticationError):
        home.client("stranger").chat.completions.create(model=ALIAS, messages=HELLO)
    assert home.provider.received == 0


@behaviour("aliases")
def test_an_alias_goes_in_and_comes_out_again(home: Home) -> None:
    client = home.client("renamer")
    assert client.chat.completions.create(model=ALIAS, messages=HELLO).model == ALIAS
    stream = client.chat.completions.create(model=ALIAS, messages=HELLO, stream=True)
    names = [chunk.model for chunk in stream]
    assert len(names) > 3
    assert set(names) == {ALIAS}
    assert [request.model for request in home.provider.requests] == [SERVED, SERVED]
    for row in home.records("renamer", 2):
        assert (row["requested_model"], row["served_model"]) == (ALIAS, SERVED)


@behaviour("models of a key")
def test_a_name_that_a_key_may_not_call_does_not_exist_for_it(home: Home) -> None:
    assert home.post("caller", model=HIDDEN).status_code == 200
    answer = home.post("narrow", model=HIDDEN)
    assert answer.status_code == 404
    assert error_of(answer) == {
        "message": f"The model `{HIDDEN}` does not exist or you do not have access to it.",
        "type": "invalid_request_error",
        "param": None,
        "code": "model_not_found",
    }
    assert home.post("narrow", model=ALIAS).status_code == 200
    assert home.provider.received == 2
    refused, _ = home.records("narrow", 2)
    assert (refused["status"], refused["outcome"], refused["error_type"]) == (404, "client_error", "unknown_model")


# What an answer shows.


@behaviour("usage of streams")
def test_usage_is_asked_for_always_and_shown_to_who_asked_on_one_chunk(home: Home) -> None:
    hidden = chunks_of(home.post("streamer", stream=True))
    assert all(chunk.get("usage") is None for chunk in hidden)
    assert all(chunk["choices"] for chunk in hidden)
    shown = chunks_of(home.post("streamer", stream=True, **ASKING))
    [usage] = [chunk["usage"] for chunk in shown if chunk.get("usage")]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == home.provider.last_request.usage
    for request in home.provider.requests:
        assert request.json["stream_options"] == {"include_usage": True}
    assert {row["usage_source"] for row in home.records("streamer", 2)} == {"provider"}


# How much is let through.


@behaviour("limits")
def test_exactly_as_many_pass_as_the_limit_says(home: Home) -> None:
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


@behaviour("limits of long streams")
def test_a_stream_that_grows_beyond_what_was_reserved_leaves_less_to_others_while_it_runs(home: Home) -> None:
    """1,024 tokens are reserved for the stream; 100 of the limit of 1,500 would be left, had it not said 1,400."""
    home.provider.enqueue(Script(text="word " * 6_000, chunk_size=500, frame_delay=0.02))
    said = 0
    with home.client("long").chat.completions.create(model=ALIAS, messages=HELLO, stream=True) as stream:
        while said < 1_400:
            choices = next(stream).choices
            said += len(choices[0].delta.content or "") // 4 if choices else 0
        assert home.post("long", max_tokens=100).status_code == 429


@behaviour("budgets")
def test_a_spent_budget_is_an_insufficient_quota(home: Home) -> None:
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
def test_each_end_user_of_a_key_has_the_limit_to_itself(home: Home) -> None:
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
def test_a_session_ends_with_its_last_request_and_is_not_retried(home: Home) -> None:
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
def test_a_session_ends_when_its_money_is_spent(home: Home) -> None:
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
def test_under_a_budget_a_model_without_a_price_is_refused(home: Home) -> None:
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


# What is kept.


@behaviour("records")
def test_every_request_leaves_one_record_with_the_providers_numbers(home: Home) -> None:
    told = []
    for stream in (False, True):
        home.complete("recorded", stream=stream)
        told.append(home.provider.last_request.usage)
    rows = home.records("recorded", 2)
    assert [(row["input_tokens"], row["output_tokens"]) for row in rows] == told
    assert [row["cost_micro_usd"] for row in rows] == [sent + 2 * got for sent, got in told]
    assert [row["stream"] for row in rows] == [0, 1]
    for row in rows:
        assert (row["key_id"], row["team"], row["served_model"]) == ("recorded", "search", SERVED)
        assert (row["status"], row["outcome"], row["error_type"]) == (200, "ok", "")
        assert (row["usage_source"], row["finish_reason"]) == ("provider", "stop")
        assert (row["provider_model"], row["service_tier"], row["cost_source"]) == (SERVED, "default", "config")
    assert rows[1]["ttft_ms"] is not None


def fragment(**function: Any) -> bytes:
    call = {"index": 0, "function": function, **({"id": "call_7f", "type": "function"} if "name" in function else {})}
    choice = {"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}
    chunk = {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": SERVED, "choices": [choice]}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


CALL_ENDS = fragment(arguments="").replace(b'"finish_reason": null', b'"finish_reason": "tool_calls"')
UNCOUNTED = (
    (Script(text="word " * 40, usage="off"), False, 50),  # by its characters
    (Script(text="word " * 40, chunk_size=5, usage="off"), True, 40),  # by its chunks
    (
        Script(
            events=[
                fragment(name="edit", arguments=""),
                *[fragment(arguments="abcd")] * 30,
                CALL_ENDS,
                b"data: [DONE]\n\n",
            ]
        ),
        True,
        39,
    ),
)
"""Answers whose provider reports no usage, whether they are streamed, and their tokens."""


def a_whole_answer_is_estimated_alike(home: Home) -> None:
    script, stream, tokens = UNCOUNTED[0]
    home.provider.enqueue(script)
    home.complete("uncounted", stream=stream)
    [row] = home.records("uncounted", 1)
    assert (row["output_tokens"], row["usage_source"]) == (tokens, "estimated")


@behaviour("estimates", instead={SDK: a_whole_answer_is_estimated_alike})
def test_what_no_provider_has_counted_is_estimated_alike_in_every_home(home: Home) -> None:
    for script, stream, _ in UNCOUNTED:
        home.provider.enqueue(script)
        home.complete("uncounted", stream=stream)
    rows = home.records("uncounted", len(UNCOUNTED))
    assert [row["output_tokens"] for row in rows] == [tokens for _, _, tokens in UNCOUNTED]
    assert {row["usage_source"] for row in rows} == {"estimated"}
    assert all(15 <= row["input_tokens"] <= 30 for row in rows)


ODD: list[tuple[dict[str, Any], tuple[int, int, int, int]]] = [
    (
        {
            "prompt_tokens": 600,
            "completion_tokens": 25,
            "total_tokens": 825,
            "completion_tokens_details": {"reasoning_tokens": 200},
        },
        (600, 225, 0, 200),
    ),
    (
        {"prompt_tokens": 8, "completion_tokens": 3, "completion_tokens_details": {"reasoning_tokens": 40}},
        (8, 43, 0, 40),
    ),
    (
        {
            "prompt_tokens": 6,
            "completion_tokens": 2,
            "total_tokens": 8,
            "prompt_tokens_details": {"cached_tokens": 700},
        },
        (706, 2, 700, 0),
    ),
    ({"prompt_tokens": 900, "completion_tokens": 4, "total_tokens": 904, "cached_tokens": 850}, (900, 4, 850, 0)),
    ({"prompt_tokens": 31, "completion_tokens": -9, "total_tokens": 40}, (31, 9, 0, 0)),
    ({"prompt_tokens": 2**63, "completion_tokens": 5, "total_tokens": 17}, (12, 5, 0, 0)),
    ({"prompt_tokens": 22, "total_tokens": 30}, (22, 8, 0, 0)),
    ({"completion_tokens": 8, "total_tokens": 30}, (22, 8, 0, 0)),
    ({"input_tokens": 70, "output_tokens": 6}, (70, 6, 0, 0)),
    ({"prompt_tokens": 14.0, "completion_tokens": "6", "total_tokens": 20}, (14, 6, 0, 0)),
]
"""What providers report, and the input, output, cached and reasoning tokens that it means."""


@behaviour("odd usage")
def test_odd_numbers_of_a_provider_are_the_same_integers_in_every_home(home: Home) -> None:
    until(lambda: home.counted()["requests_in_flight"] == 0, "the requests of earlier tests")
    before = home.counted()
    asked = [(usage, expected, stream) for usage, expected in ODD for stream in (False, True)]
    for usage, _, stream in asked:
        home.provider.enqueue(Script(usage_object=usage))
        home.complete("odd", stream=stream)
    wrong = [
        (usage, stream, tuple(row), expected)
        for (usage, expected, stream), row in zip(asked, home.records("odd", len(asked)), strict=True)
        if (row["usage_source"], row["cost_micro_usd"] >= 0) != ("provider", True)
        or tuple(row[f"{name}_tokens"] for name in ("input", "output", "cached_input", "reasoning_output")) != expected
    ]
    assert wrong == []
    names = [f"{name}_tokens_total" for name in ("input", "output", "cached_input", "reasoning_output")]
    totals = [before[name] + 2 * sum(tokens[place] for _, tokens in ODD) for place, name in enumerate(names)]

    def counted() -> bool:
        now = home.counted()
        return [now[name] for name in names] == totals

    until(counted, f"{totals} of {names}")


@behaviour("a plugin's own cache")
def test_what_a_plugin_answers_from_its_own_cache_costs_nothing_and_fills_no_limit_of_tokens(home: Home) -> None:
    before = home.counted()
    answers = [home.post("cached", more_headers={FROM_CACHE: "yes"}, stream=stream) for stream in (False, True)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert [answer.text.count("As before.") for answer in answers] == [1, 1], [answer.text for answer in answers]
    assert home.provider.received == 0
    for row in home.records("cached", 2):
        assert (row["usage_source"], row["cost_micro_usd"], row["attempts"]) == ("cache", 0, 0)
        assert (row["input_tokens"], row["output_tokens"], row["outcome"]) == (5000, 2, "ok")
    last = home.post("cached", more_headers={FROM_CACHE: "yes"})
    assert last.headers["x-ratelimit-remaining-requests"] == "997"
    assert int(last.headers["x-ratelimit-remaining-tokens"]) > 1_000_000 - REMEMBERED["total_tokens"]
    home.records("cached", 3)

    def counted() -> bool:
        now = home.counted()
        return (
            now["cache_answers_total"] - before["cache_answers_total"] == 3
            and now["cache_answer_input_tokens_total"] - before["cache_answer_input_tokens_total"] == 15_000
            and all(
                now[name] == before[name] for name in ("input_tokens_total", "output_tokens_total", "cost_usd_total")
            )
        )

    until(counted, "three answers from a cache")


# What goes wrong.


def the_work_goes_on(home: Home) -> None:
    home.provider.enqueue(Script(text="word " * 30, chunk_size=5, frame_delay=0.02))
    leave(home)
    home.wait_for_provider()
    assert home.provider.last_request.completed
    [row] = home.records("leaver", 1)
    assert row["usage_source"] == "provider"
    assert home.post("leaver").status_code == 200


def leave(home: Home) -> None:
    with home.client("leaver").chat.completions.create(model=ALIAS, messages=HELLO, stream=True) as stream:
        for _ in zip(range(3), stream, strict=False):
            pass


@behaviour("a client that leaves", instead={"blacksheep": the_work_goes_on})
def test_a_client_that_leaves_ends_the_work_and_holds_nothing(home: Home) -> None:
    home.provider.enqueue(TALE)
    leave(home)
    home.wait_for_provider()
    assert home.provider.last_request.client_gone
    [row] = home.records("leaver", 1)
    assert (row["status"], row["outcome"], row["error_type"]) == (200, "cancelled", "client_disconnected")
    assert row["usage_source"] == "estimated"
    assert 0 < row["output_tokens"] < 100
    assert home.post("leaver").status_code == 200


def frame(text: str, usage: dict[str, int] | None = None) -> bytes:
    choice = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": SERVED, "choices": [choice]}
    return b"data: " + json.dumps(chunk | ({"usage": usage} if usage else {})).encode() + b"\n\n"


@behaviour("early counts")
def test_what_a_provider_has_told_before_its_client_leaves_is_kept_and_free_as_the_key_says(home: Home) -> None:
    first = frame("Once", {"prompt_tokens": 4321, "completion_tokens": 1, "total_tokens": 4322})
    for key_id in ("early", "early-free"):
        home.provider.enqueue(Script(events=[first, *[frame(" upon a time")] * 400], frame_delay=0.02))
        with home.client(key_id).chat.completions.create(model=ALIAS, messages=HELLO, stream=True) as stream:
            for _ in zip(range(20), stream, strict=False):
                pass
        [row] = home.records(key_id, 1)
        assert (row["outcome"], row["input_tokens"]) == ("cancelled", 4321), dict(row)
        if key_id == "early-free":
            assert (row["usage_source"], row["output_tokens"]) == ("provider", 1)
        else:
            assert row["usage_source"] == "estimated"
            assert 50 <= row["output_tokens"] <= 200


def failing(status: int) -> Script:
    return Script.error(status, f"http://{ADDRESS}/v1 refused {UPSTREAM_KEY}", "server_error")


def the_app_answers_for_its_provider(home: Home) -> None:
    for status, outcome, error_type in ((500, "server_error", "upstream_5xx"), (401, "client_error", "upstream_4xx")):
        script = failing(status)
        home.provider.script(SERVED, script)
        answer = home.post("unlucky")
        assert (answer.status_code, answer.json()) == (status, script.body)
        row = home.records("unlucky", 1 if status == 500 else 2)[-1]
        assert (row["status"], row["outcome"], row["error_type"]) == (status, outcome, error_type)
    home.provider.clear()
    assert home.post("unlucky").status_code == 200


def a_failed_call_leaves_its_record(home: Home) -> None:
    for count, (status, error_type) in enumerate(((500, "upstream_5xx"), (401, "upstream_auth")), start=1):
        home.provider.script(SERVED, failing(status))
        with pytest.raises(openai.APIError):
            home.complete("unlucky", stream=False)
        row = home.records("unlucky", count)[-1]
        assert (row["outcome"], row["error_type"]) == ("server_error", error_type)
        assert (row["usage_source"], row["cost_micro_usd"]) == ("none", 0)


@behaviour(
    "a provider that fails",
    instead={**dict.fromkeys(APPS, the_app_answers_for_its_provider), SDK: a_failed_call_leaves_its_record},
)
def test_a_failure_of_the_provider_is_told_in_our_words_and_recorded_as_the_servers(home: Home) -> None:
    for status, error_type in ((500, "upstream_5xx"), (401, "upstream_auth")):
        home.provider.script(SERVED, failing(status))
        answer = home.post("unlucky")
        assert answer.status_code >= 500
        assert error_of(answer)["type"] == "server_error"
        assert ADDRESS not in answer.text
        assert UPSTREAM_KEY not in answer.text
        row = home.records("unlucky", 1 if status == 500 else 2)[-1]
        assert (row["status"], row["outcome"], row["error_type"]) == (answer.status_code, "server_error", error_type)
        assert (row["usage_source"], row["cost_micro_usd"]) == ("none", 0)
    home.provider.clear()
    assert home.post("unlucky").status_code == 200


def a_broken_call_leaves_its_record(home: Home) -> None:
    home.provider.enqueue(Script(reset_after=4, frame_delay=0.02))
    with pytest.raises(openai.APIError):
        home.complete("cut", stream=True)
    [row] = home.records("cut", 1)
    assert (row["status"], row["outcome"], row["error_type"]) == (200, "server_error", "upstream_stream_broken")
    assert row["usage_source"] == "estimated"


@behaviour("a stream that breaks", instead={SDK: a_broken_call_leaves_its_record})
def test_a_stream_that_breaks_ends_with_an_error_and_never_looks_complete(home: Home) -> None:
    home.provider.enqueue(Script(reset_after=4, frame_delay=0.02))
    answer = home.post("cut", stream=True)
    *chunks, last = chunks_of(answer)
    assert set(last) == {"error"}
    assert set(last["error"]) == {"message", "type", "param", "code"}
    assert last["error"]["type"] == "server_error"
    assert len(chunks) >= 2
    assert not any(choice.get("finish_reason") for chunk in chunks for choice in chunk["choices"])
    [row] = home.records("cut", 1)
    assert (row["status"], row["outcome"], row["error_type"]) == (200, "server_error", "upstream_stream_broken")


@behaviour("a body too large")
def test_a_body_too_large_is_refused_before_it_is_read(home: Home) -> None:
    answer = home.post("large", messages=[{"role": "user", "content": "x" * MAX_BODY}])
    assert answer.status_code == 413
    assert error_of(answer)["code"] == "request_too_large"
    assert home.provider.received == 0
    [row] = home.records("large", 1)
    assert (row["status"], row["outcome"]) == (413, "client_error")


def litellm_refuses_it(home: Home) -> None:
    assert home.post("broken", data=b'{"model": "fast", "messages": [').status_code == 400
    assert home.provider.received == 0


@behaviour("a body that is no JSON", instead=dict.fromkeys(CALLBACKS, litellm_refuses_it))
def test_a_body_that_is_no_json_is_refused(home: Home) -> None:
    answer = home.post("broken", data=b'{"model": "fast", "messages": [')
    assert answer.status_code == 400
    assert error_of(answer)["message"].startswith("We could not parse the JSON body of your request.")
    assert home.post("stranger", data=b"{").status_code == 401
    assert home.provider.received == 0
    [row] = home.records("broken", 1)
    assert (row["status"], row["outcome"]) == (400, "client_error")


# What it all comes to.


@behaviour("metrics")
def test_the_counters_are_the_sums_of_the_records(home: Home) -> None:
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


# What holds for every request.


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
def test_a_plugin_outside_auth_refuses_with_and_without_a_key_and_all_that_were_entered_finish(home: Home) -> None:
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


def test_the_page_about_homes_has_the_same_table() -> None:
    page = (CHECKOUT / "crplugins" / "homes" / "README.md").read_text()
    section = page.partition("\n## What each home can do\n")[2].partition("\n## ")[0]
    assert section, "crplugins/homes/README.md has no section 'What each home can do'"
    assert written_table(section) == expected_table()
