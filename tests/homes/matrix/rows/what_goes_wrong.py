"""Rows of the matrix: clients that leave, providers that fail, and bodies that are no good."""

import json

import openai
import pytest

from crplugins.testing import Script
from tests.homes.matrix.cells import APPS, CALLBACKS, behaviour
from tests.homes.matrix.home import HELLO, Home
from tests.homes.matrix.litellm_homes import SDK
from tests.homes.matrix.rows.answers import chunks_of, error_of
from tests.homes.matrix.words import ALIAS, MAX_BODY, SERVED, UPSTREAM_KEY

ADDRESS = "10.1.2.3:8080"
TALE = Script(text="word " * 400, chunk_size=5, frame_delay=0.02)
"""Longer than anybody listens."""


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
def a_client_that_leaves_ends_the_work_and_holds_nothing(home: Home) -> None:
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


COUNTED = {"prompt_tokens": 21, "completion_tokens": 9, "total_tokens": 30}


@behaviour("early counts")
def what_a_provider_has_told_before_its_client_leaves_is_kept_and_free_as_the_key_says(home: Home) -> None:
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
def a_failure_of_the_provider_is_told_in_our_words_and_recorded_as_the_servers(home: Home) -> None:
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
def a_stream_that_breaks_ends_with_an_error_and_never_looks_complete(home: Home) -> None:
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


CITIES = ('{"city": "Paris"}', '{"city": "Rome"}')
ONE_NUMBER = [
    {"index": 0, "id": "a", "type": "function", "function": {"name": "weather", "arguments": CITIES[0]}},
    {"index": 0, "id": "b", "type": "function", "function": {"name": "weather", "arguments": CITIES[1]}},
]
"""As Ollama sends them."""

TOLD_TWICE = [
    {"index": 1, "id": "a", "type": "function", "function": {"name": "weather", "arguments": ""}},
    {"index": 1, "id": "a", "type": "function", "function": {"name": "weather", "arguments": '{"city": '}},
    {"index": 1, "id": "a", "type": "function", "function": {"name": "weather", "arguments": '"Paris"}'}},
    {"index": 1, "id": "a", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Paris"}'}},
]
"""Counted from 1, with the name on each fragment, and whole once more at the end."""


def call_frame(fragments: list[object], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"role": "assistant", "tool_calls": fragments}, "finish_reason": finish}
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": SERVED, "choices": [choice]}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


@behaviour("odd tool calls")
def calls_reach_openais_sdk_as_the_model_made_them_however_their_provider_tells_them(home: Home) -> None:
    for told, cities in ((ONE_NUMBER, CITIES), (TOLD_TWICE, CITIES[:1])):
        *first, last = ([each] for each in told)
        frames = [
            *map(call_frame, first),
            call_frame(last, "tool_calls"),
            frame("", dict(COUNTED)),
            b"data: [DONE]\n\n",
        ]
        home.provider.enqueue(Script(events=frames))
        with home.client("calls").chat.completions.stream(model=ALIAS, messages=HELLO) as stream:
            calls = stream.get_final_completion().choices[0].message.tool_calls or []
        assert [(call.function.name, json.loads(call.function.arguments)) for call in calls] == [
            ("weather", json.loads(city)) for city in cities
        ]
        assert len({call.id for call in calls}) == len(cities)
    rows = home.records("calls", 2)
    assert [(row["output_tokens"], row["usage_source"], row["outcome"]) for row in rows] == [(9, "provider", "ok")] * 2


@behaviour("a body too large")
def a_body_too_large_is_refused_before_it_is_read(home: Home) -> None:
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
def a_body_that_is_no_json_is_refused(home: Home) -> None:
    answer = home.post("broken", data=b'{"model": "fast", "messages": [')
    assert answer.status_code == 400
    assert error_of(answer)["message"].startswith("We could not parse the JSON body of your request.")
    assert home.post("stranger", data=b"{").status_code == 401
    assert home.provider.received == 0
    [row] = home.records("broken", 1)
    assert (row["status"], row["outcome"]) == (400, "client_error")


@behaviour("too many answers")
def more_answers_than_openai_gives_are_refused_before_they_are_reckoned_with(home: Home) -> None:
    answer = home.post("many", n=129)
    assert answer.status_code == 400
    assert "'n'" in error_of(answer)["message"]
    assert home.provider.received == 0
    [row] = home.records("many", 1)
    assert (row["status"], row["outcome"], row["output_tokens"]) == (400, "client_error", 0)
