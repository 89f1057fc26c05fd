"""Rows of the matrix: who may come in, what it may call, and what it is shown."""

from typing import Any

import openai
import pytest

from tests.homes.matrix.cells import behaviour
from tests.homes.matrix.home import HELLO, Home
from tests.homes.matrix.rows.answers import chunks_of, error_of
from tests.homes.matrix.words import ALIAS, HIDDEN, SERVED


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
def without_a_good_key_nobody_comes_in(home: Home) -> None:
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
def an_alias_goes_in_and_comes_out_again(home: Home) -> None:
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
def a_name_that_a_key_may_not_call_does_not_exist_for_it(home: Home) -> None:
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


ASKING: Any = {"stream_options": {"include_usage": True}}


@behaviour("usage of streams")
def usage_is_asked_for_always_and_shown_to_who_asked_on_one_chunk(home: Home) -> None:
    hidden = chunks_of(home.post("streamer", stream=True))
    assert all(chunk.get("usage") is None for chunk in hidden)
    assert all(chunk["choices"] for chunk in hidden)
    shown = chunks_of(home.post("streamer", stream=True, **ASKING))
    [usage] = [chunk["usage"] for chunk in shown if chunk.get("usage")]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == home.provider.last_request.usage
    for request in home.provider.requests:
        assert request.json["stream_options"] == {"include_usage": True}
    assert {row["usage_source"] for row in home.records("streamer", 2)} == {"provider"}
