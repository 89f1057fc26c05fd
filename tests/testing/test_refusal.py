from typing import Any

import pytest

from crplugins.testing.refusal import error_body, refusal_of, unknown_model, unknown_url


@pytest.mark.parametrize(
    ("request_", "message", "param", "code"),
    [
        (None, "We could not parse the JSON body", None, None),
        ([], "We could not parse the JSON body", None, None),
        ({"messages": []}, "you must provide a model parameter", None, None),
        ({"model": "m"}, "Missing required parameter: 'messages'.", "messages", "missing_required_parameter"),
        ({"model": "m", "messages": []}, "Invalid 'messages': empty array.", "messages", "empty_array"),
        ({"model": "m", "messages": "hi"}, "Invalid type for 'messages'", "messages", "invalid_type"),
    ],
)
def test_what_cannot_be_answered_is_a_400_in_the_words_of_openai(
    request_: Any, message: str, param: str | None, code: str | None
) -> None:
    refusal = refusal_of(request_)
    assert refusal is not None
    assert refusal.status == 400
    error = refusal.body["error"]
    assert error["message"].startswith(message)
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code)


def test_a_request_with_model_and_messages_is_answered() -> None:
    assert refusal_of({"model": "m", "messages": [{"role": "user"}]}) is None


def test_an_error_object_always_has_four_keys() -> None:
    assert error_body("m") == {"error": {"message": "m", "type": "invalid_request_error", "param": None, "code": None}}
    assert unknown_model("x").body["error"]["code"] == "model_not_found"
    assert unknown_url("POST", "/v2").body["error"]["message"] == "Invalid URL (POST /v2)"
