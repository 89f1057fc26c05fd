"""Gemini by Google's OpenAI endpoint.

https://ai.google.dev/gemini-api/docs/openai: `/v1beta/openai/chat/completions`. `completion_tokens` leaves out the
thoughts, which only `total_tokens` has. Calls come whole, their signature in `extra_content.google`
(https://ai.google.dev/gemini-api/docs/thought-signatures). Thoughts, where they are asked for, stand in `<thought>`
tags of the text; they are not asked for here. A failure is Google's JSON, in a list.
"""

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
    sse,
)

_wire = Wire(id="bR0haZbYNsGp", model="gemini-2.5-flash")


def _usage(output: int, *, thought: int = 0) -> Json:
    return {"prompt_tokens": 12, "completion_tokens": output, "total_tokens": 12 + output + thought}


def _say(text: str) -> bytes:
    return _wire({"role": "assistant", "content": text})


MADE = (
    ("function-call-1176", "get_weather", '{"city":"Oslo"}'),
    ("function-call-1177", "get_weather", '{"city":"Lima"}'),
)
SIGNATURE = {"extra_content": {"google": {"thought_signature": "CiQBVKhc7nYQm5A="}}}
OVERLOADED = [{"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}]

GEMINI_OPENAI = Family(
    "gemini-openai",
    "openai/gemini-2.5-flash",
    cases(
        Case(
            ORDINARY,
            [*map(_say, ("Salt ", "lowers ", "the freezing ", "point.")), _wire({"role": "assistant"}, "stop"), _wire.usage(_usage(8)), DONE],
            _wire.document({"content": "Salt lowers the freezing point."}, "stop", _usage(8)),
            Right(text="Salt lowers the freezing point.", usage=counted(12, 8)),
        ),
        Case(
            THINKING,
            [_say("By -21 "), _say("°C."), _wire({"role": "assistant"}, "stop"), _wire.usage(_usage(6, thought=90)), DONE],
            _wire.document({"content": "By -21 °C."}, "stop", _usage(6, thought=90)),
            Right(text="By -21 °C.", usage=counted(12, 96), shown=(12, 6)),
        ),
        Case(
            TOOLS,
            [
                _wire({"role": "assistant", **calls(call(0, *MADE[0], **SIGNATURE))}),
                _wire({"role": "assistant", **calls(call(1, *MADE[1]))}),
                _wire({"role": "assistant"}, "tool_calls"),
                _wire.usage(_usage(30, thought=50)),
                DONE,
            ],
            _wire.document({"tool_calls": whole_calls(*MADE)}, "tool_calls", _usage(30, thought=50)),
            Right(
                calls=(("get_weather", {"city": "Oslo"}), ("get_weather", {"city": "Lima"})),
                finish="tool_calls",
                usage=counted(12, 80),
                shown=(12, 30),
            ),
        ),
        middle=Right(text="Salt lowers the freezing ", finish=None, failed=True),
        at_end=Right(text="Salt lowers the freezing point.", finish=None, failed=True),
        error=Case(
            ERROR_INSIDE,
            [_say("Salt "), sse(OVERLOADED)],
            document(OVERLOADED, 503),
            Right(text="Salt ", finish=None, failed=True),
            plain_right=FAILED,
        ),
        end=3,
    ),
    direct="openai/gemini-2.5-flash",
    path="/v1beta/openai",
)  # fmt: skip
FAMILIES = (GEMINI_OPENAI,)
