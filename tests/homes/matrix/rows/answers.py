"""What rows read in an answer."""

import json
from typing import Any

import httpx


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
