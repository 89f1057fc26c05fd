"""OpenRouter's API.

- https://openrouter.ai/docs/api-reference/streaming: comments while it waits; an error inside a stream is a chunk with
  `error` and the finish reason `error`
- https://openrouter.ai/docs/use-cases/reasoning-tokens: `reasoning` and `reasoning_details`
- https://openrouter.ai/docs/use-cases/usage-accounting: usage with `cost` on the last chunk
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
    Right,
    cases,
    counted,
    document,
)

_wire = Wire(id="gen-1790000000-qT6hY", provider="Moonshot AI", model="moonshotai/kimi-k2.5")
PROCESSING = b": OPENROUTER PROCESSING\n\n"


def _usage(output: int, *, reasoning: int = 0, cached: int = 0) -> Json:
    return {"prompt_tokens": 57, "completion_tokens": output, "total_tokens": 57 + output, "cost": 0.000213, "is_byok": False,
            "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
            "cost_details": {"upstream_inference_cost": None},
            "completion_tokens_details": {"reasoning_tokens": reasoning, "image_tokens": 0}}  # fmt: skip


def _say(text: str, finish: str | None = None, **more: Any) -> bytes:
    choice = {"native_finish_reason": finish, "logprobs": None}
    return _wire({"role": "assistant", "content": text, **more}, finish, choice)


def _thought(text: str) -> Json:
    detail = {"type": "reasoning.text", "text": text, "format": "unknown", "index": 0}
    return {"reasoning": text, "reasoning_details": [detail]}


def _end(finish: str, usage: Json) -> list[bytes]:
    empty = {
        "index": 0,
        "delta": {"role": "assistant", "content": ""},
        "finish_reason": None,
        "native_finish_reason": None,
    }
    return [_say("", finish), _wire.usage(usage, choices=[empty]), DONE]


MADE = (
    ("functions.get_weather:0", "get_weather", '{"city": "Oslo"}'),
    ("functions.get_weather:1", "get_weather", '{"city": "Lima"}'),
)
FAILURE = {
    "code": 502,
    "message": "Provider returned error",
    "metadata": {"raw": "upstream hung up", "provider_name": "Moonshot AI"},
}

OPENROUTER = Family(
    "openrouter",
    "openrouter/moonshotai/kimi-k2.5",
    cases(
        Case(
            ORDINARY,
            [PROCESSING, *map(_say, ("Ink ", "is ", "older ", "than paper.")), *_end("stop", _usage(8, cached=40))],
            _wire.document({"content": "Ink is older than paper.", "refusal": None}, "stop", _usage(8, cached=40)),
            Right(text="Ink is older than paper.", usage=counted(57, 8, cached=40)),
        ),
        Case(
            THINKING,
            [
                PROCESSING,
                _say("", **_thought("Papyrus ")),
                _say("", **_thought("is older.")),
                _say("Papyrus."),
                *_end("stop", _usage(30, reasoning=25)),
            ],
            _wire.document({"content": "Papyrus.", **_thought("Papyrus is older.")}, "stop", _usage(30, reasoning=25)),
            Right(text="Papyrus.", reasoning="Papyrus is older.", usage=counted(57, 30, reasoning=25)),
        ),
        Case(
            TOOLS,
            [
                *[
                    _wire({"role": "assistant", "content": None, **calls(fragment)})
                    for n, (id_, name, arguments) in enumerate(MADE)
                    for fragment in (call(n, id_, name, ""), call(n, None, None, arguments[:4]), call(n, None, None, arguments[4:]))
                ],
                *_end("tool_calls", _usage(55)),
            ],
            _wire.document({"content": "", "tool_calls": whole_calls(*MADE)}, "tool_calls", _usage(55)),
            Right(
                calls=(("get_weather", {"city": "Oslo"}), ("get_weather", {"city": "Lima"})),
                finish="tool_calls",
                usage=counted(57, 55),
            ),
        ),
        middle=Right(text="Ink is older ", finish=None, failed=True),
        at_end=Right(text="Ink is older than paper.", finish=None, failed=True),
        error=Case(
            ERROR_INSIDE,
            [_say("Ink "), _wire({"role": "assistant", "content": ""}, "error", error=FAILURE)],
            document({"error": FAILURE}, 502),
            Right(text="Ink ", finish=None, failed=True),
            plain_right=FAILED,
        ),
        end=3,
    ),
    direct="openrouter/moonshotai/kimi-k2.5",
    path="/api/v1",
)  # fmt: skip
FAMILIES = (OPENROUTER,)
