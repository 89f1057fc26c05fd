"""Rows of the matrix: what is kept of each request, and what it all comes to."""

import json
from typing import Any

from crplugins.testing import Script
from tests.homes.matrix.cells import behaviour
from tests.homes.matrix.home import Home, until
from tests.homes.matrix.litellm_homes import SDK
from tests.homes.matrix.witness import FROM_CACHE, REMEMBERED
from tests.homes.matrix.words import SERVED


@behaviour("records")
def every_request_leaves_one_record_with_the_providers_numbers(home: Home) -> None:
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
def what_no_provider_has_counted_is_estimated_alike_in_every_home(home: Home) -> None:
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
def odd_numbers_of_a_provider_are_the_same_integers_in_every_home(home: Home) -> None:
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
def what_a_plugin_answers_from_its_own_cache_costs_nothing_and_fills_no_limit_of_tokens(home: Home) -> None:
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
