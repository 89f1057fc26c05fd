"""Errors in an answer with a 2xx that stand elsewhere than in `error`."""

import json
from typing import Any

import pytest

from crplugins.core.sse import Event, Splitter, begins_stream
from crplugins.core.wire import EmptyErrorFacts

TOLD = [
    ({"code": 429, "message": "slow"}, "slow", 429),
    ({"code": "Throttling", "message": "slow", "request_id": "r"}, "slow", "Throttling"),
    ({"code": 20012, "msg": "no such model", "data": None}, "no such model", 20012),
    ({"code": 400, "details": "too many alternatives"}, "too many alternatives", 400),
    ({"object": "error", "message": "too long", "type": "BadRequestError", "code": 400}, "too long", 400),
    ({"type": "error", "message": "down"}, "down", None),
    ({"choices": None, "base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}},
     "insufficient balance", 1008),
    ({"choices": [], "base_resp": {"status_code": 1002, "status_msg": "rate limit"}}, "rate limit", 1002),
    ({"error_code": 18, "error_msg": "busy"}, "busy", 18),
    ({"detail": "Model is not loaded"}, "Model is not loaded", None),
]  # fmt: skip

NONE = [
    {}, {"type": "ping"}, {"code": 0, "msg": "ok"}, {"code": 200, "message": "working"}, {"code": "success", "msg": "x"},
    {"message": "loading the model"}, {"code": 500}, {"choices": [], "prompt_filter_results": []},
    {"base_resp": {"status_code": 0, "status_msg": ""}, "choices": []}, {"code": True, "message": "x"},
    {"choices": [{"index": 0, "delta": {"content": "Hi"}}], "code": 500, "message": "x"},
    {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}, "code": 500, "message": "x"},
]  # fmt: skip


def facts_of(chunk: Any) -> Any:
    return Event.of(json.dumps(chunk).encode()).answer


@pytest.mark.parametrize(("chunk", "message", "code"), TOLD)
def test_an_error_is_one_wherever_its_text_and_code_stand(chunk: Any, message: str, code: Any) -> None:
    told = facts_of(chunk).error
    assert (told["message"], told["code"]) == (message, code)


@pytest.mark.parametrize("chunk", NONE)
def test_a_success_a_sign_of_life_and_a_part_of_an_answer_are_none(chunk: Any) -> None:
    assert facts_of(chunk).error is None


@pytest.mark.parametrize("data", ['{"code": 0}', '{"reason": "x"}', "overloaded", "[]", '{"error": "x"}'])
def test_an_event_named_error_is_one_whatever_its_data(data: str) -> None:
    for raw in (f"event: error\ndata: {data}\n\n", f"id: 1\nevent:error\n:HTTP_STATUS/500\ndata:{data}\n\n"):
        [event] = Splitter().feed(raw.encode())
        assert event.answer is not None
        assert event.answer.error is not None
        assert not event.is_malformed


def test_a_field_named_error_is_one_as_old_servers_of_llama_cpp_send_it() -> None:
    body = b'error: {"code":400,"message":"too long","type":"invalid_request_error"}\n\ndata: [DONE]\n\n'
    assert begins_stream(body)
    event, done = Splitter().feed(body)
    assert event.answer is not None
    assert event.answer.error == {"message": "too long", "type": "invalid_request_error", "code": 400}
    assert not event.is_comment
    assert done.is_done
    assert begins_stream(b"error code: 524") is False


@pytest.mark.parametrize("error", [{}, "", False, {"message": "", "type": "", "param": "", "code": None}])
def test_an_error_that_says_nothing_is_none(error: Any) -> None:
    answer = facts_of({"choices": [{"index": 0, "delta": {"content": "Hi"}}], "error": error})
    assert isinstance(answer, EmptyErrorFacts)
    assert (answer.error, answer.says()) == (None, True)
