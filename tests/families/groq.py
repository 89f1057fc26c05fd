"""Groq's API.

- https://console.groq.com/docs/api-reference#chat-create: `x_groq` with an id on the first chunk and, with the finish
  reason, with usage; beside it OpenAI's usage chunk where it is asked for
- https://console.groq.com/docs/reasoning: `reasoning` with `reasoning_format: parsed`
- A failure inside a stream is an error object behind `event: error`; its `status_code` is what HTTP would have said.
"""

from typing import Any

from tests.families.openai_wire import DONE, Wire, call, calls, whole_calls
from tests.families.story import (
    ERROR_INSIDE,
    FAILED,
    ORDINARY,
    THINKING,
    TOOLS,
    Case,
    Family,
    Json,
    Plain,
    Right,
    cases,
    counted,
    document,
    sse,
)

_wire = Wire(id="chatcmpl-8d1c8a5e", model="qwen/qwen3-32b", system_fingerprint="fp_efa9879028")
FIRST = _wire(
    {"role": "assistant", "content": ""}, None, {"logprobs": None}, x_groq={"id": "req_01k9hg8w", "seed": 1184736}
)


def _usage(output: int, *, reasoning: int = 0, cached: int = 0) -> Json:
    usage = {"queue_time": 0.0497, "prompt_tokens": 41, "prompt_time": 0.0019, "completion_tokens": output,
             "completion_time": 0.032, "total_tokens": 41 + output, "total_time": 0.034}  # fmt: skip
    if reasoning:
        usage["completion_tokens_details"] = {"reasoning_tokens": reasoning}  # type: ignore[assignment]
    if cached:
        usage["prompt_tokens_details"] = {"cached_tokens": cached}  # type: ignore[assignment]
    return usage


def _say(text: str, **more: Any) -> bytes:
    return _wire({"content": text, **more}, None, {"logprobs": None})


def _whole(message: Json, finish: str, usage: Json) -> Plain:
    choice = {"logprobs": None}
    return _wire.document(message, finish, usage, choice, service_tier="on_demand", x_groq={"id": "req_01k9hg8w"})


def _end(finish: str, usage: Json) -> list[bytes]:
    return [
        _wire({}, finish, {"logprobs": None}, x_groq={"id": "req_01k9hg8w", "usage": usage}),
        _wire.usage(usage),
        DONE,
    ]


MADE = (("dapnbrf4e", "get_weather", '{"city":"Oslo"}'), ("k2s9qmz0c", "get_weather", '{"city":"Lima"}'))
FAILURE = {
    "error": {
        "message": "The model is currently over capacity.",
        "type": "internal_server_error",
        "code": "over_capacity",
        "status_code": 503,
    }
}

GROQ = Family(
    "groq",
    "groq/qwen/qwen3-32b",
    cases(
        Case(
            ORDINARY,
            [FIRST, *map(_say, ("Silk ", "is spun ", "by ", "moths.")), *_end("stop", _usage(9, cached=32))],
            _whole({"content": "Silk is spun by moths."}, "stop", _usage(9, cached=32)),
            Right(text="Silk is spun by moths.", usage=counted(41, 9, cached=32)),
        ),
        Case(
            THINKING,
            [FIRST, _say("", reasoning="One cocoon, "), _say("", reasoning="900 m."), _say("900 m."), *_end("stop", _usage(70, reasoning=61))],
            _whole({"content": "900 m.", "reasoning": "One cocoon, 900 m."}, "stop", _usage(70, reasoning=61)),
            Right(text="900 m.", reasoning="One cocoon, 900 m.", usage=counted(41, 70, reasoning=61)),
        ),
        Case(
            TOOLS,
            [FIRST, _wire(calls(call(0, *MADE[0]))), _wire(calls(call(1, *MADE[1]))), *_end("tool_calls", _usage(38))],
            _whole({"tool_calls": whole_calls(*MADE)}, "tool_calls", _usage(38)),
            Right(
                calls=(("get_weather", {"city": "Oslo"}), ("get_weather", {"city": "Lima"})),
                finish="tool_calls",
                usage=counted(41, 38),
            ),
        ),
        middle=Right(text="Silk is spun by ", finish=None, failed=True),
        at_end=Right(text="Silk is spun by moths.", finish=None, failed=True),
        error=Case(
            ERROR_INSIDE,
            [FIRST, _say("Silk "), sse(FAILURE, "error")],
            document(FAILURE, 503),
            Right(text="Silk ", finish=None, failed=True),
            plain_right=FAILED,
        ),
        end=3,
    ),
    direct="groq/qwen/qwen3-32b",
    path="/openai/v1",
)  # fmt: skip
FAMILIES = (GROQ,)
