"""Moonshot's API: Kimi.

- https://platform.moonshot.ai/docs/api/chat: usage stands in the choice with the finish reason, `cached_tokens` at its
  top; ids of calls are made of name and index
- https://platform.moonshot.ai/docs/guide/use-kimi-k2-thinking-model: `reasoning_content`
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

_wire = Wire(id="chatcmpl-6908b1c2", model="kimi-k2-thinking", system_fingerprint="fpv0_10a6da87")
FIRST = _wire({"role": "assistant", "content": ""})


def _usage(output: int, *, cached: int = 0) -> Json:
    usage = {"prompt_tokens": 52, "completion_tokens": output, "total_tokens": 52 + output}
    return {**usage, "cached_tokens": cached} if cached else usage


def _end(finish: str, usage: Json) -> list[bytes]:
    return [_wire({}, finish, {"usage": usage}), DONE]


MADE = (("get_weather:0", "get_weather", '{"city": "Oslo"}'), ("get_weather:1", "get_weather", '{"city": "Lima"}'))
OVERLOADED = {
    "error": {
        "message": "The engine is currently overloaded, please try again later",
        "type": "engine_overloaded_error",
    }
}

KIMI = Family(
    "kimi",
    "moonshot/kimi-k2-thinking",
    cases(
        Case(
            ORDINARY,
            [FIRST, *[_wire({"content": piece}) for piece in ("Tea ", "was ", "once ", "money.")], *_end("stop", _usage(7, cached=48))],
            _wire.document({"content": "Tea was once money."}, "stop", _usage(7, cached=48)),
            Right(text="Tea was once money.", usage=counted(52, 7, cached=48)),
        ),
        Case(
            THINKING,
            [
                FIRST,
                _wire({"reasoning_content": "Bricks "}),
                _wire({"reasoning_content": "of tea."}),
                _wire({"content": "In bricks."}),
                *_end("stop", _usage(66)),
            ],
            _wire.document({"content": "In bricks.", "reasoning_content": "Bricks of tea."}, "stop", _usage(66)),
            Right(text="In bricks.", reasoning="Bricks of tea.", usage=counted(52, 66)),
        ),
        Case(
            TOOLS,
            [
                FIRST,
                *[
                    _wire(calls(fragment))
                    for n, (id_, name, arguments) in enumerate(MADE)
                    for fragment in (call(n, id_, name, ""), call(n, None, None, arguments[:6]), call(n, None, None, arguments[6:]))
                ],
                *_end("tool_calls", _usage(58)),
            ],
            _wire.document({"content": "", "tool_calls": whole_calls(*MADE)}, "tool_calls", _usage(58)),
            Right(
                calls=(("get_weather", {"city": "Oslo"}), ("get_weather", {"city": "Lima"})),
                finish="tool_calls",
                usage=counted(52, 58),
            ),
        ),
        middle=Right(text="Tea was ", finish=None, failed=True),
        at_end=Right(text="Tea was once money.", finish=None, failed=True),
        error=Case(
            ERROR_INSIDE,
            [FIRST, _wire({"content": "Tea "}), sse(OVERLOADED)],
            document(OVERLOADED, 429),
            Right(text="Tea ", finish=None, failed=True),
            plain_right=FAILED,
        ),
        end=2,
    ),
    direct="moonshot/kimi-k2-thinking",
)  # fmt: skip
FAMILIES = (KIMI,)
