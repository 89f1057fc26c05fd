"""Mistral's API.

- https://docs.mistral.ai/api/#tag/chat: usage stands on the chunk with the finish reason; calls come whole, in one delta,
  with ids of nine characters
- https://docs.mistral.ai/capabilities/reasoning: `content` is a list of parts, of `thinking` and of `text`
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

_wire = Wire(id="9f2b1c0f5b4e4d0a8d0c", model="magistral-medium-latest")


def _usage(output: int) -> Json:
    return {"prompt_tokens": 19, "total_tokens": 19 + output, "completion_tokens": output}


def _thought(text: str) -> Json:
    return {"type": "thinking", "thinking": [{"type": "text", "text": text}]}


FIRST = _wire({"role": "assistant", "content": ""})
MADE = (("D681PevKs", "get_weather", '{"city": "Oslo"}'), ("x93hZQm2a", "get_weather", '{"city": "Lima"}'))
UNAVAILABLE = {
    "object": "error",
    "message": "Service unavailable.",
    "type": "internal_server_error",
    "param": None,
    "code": "1000",
}

MISTRAL = Family(
    "mistral",
    "mistral/magistral-medium-latest",
    cases(
        Case(
            ORDINARY,
            [
                FIRST,
                *[_wire({"content": piece}) for piece in ("Basalt ", "is ", "cooled ", "lava")],
                _wire({"content": "."}, "stop", usage=_usage(7)),
                DONE,
            ],
            _wire.document({"content": "Basalt is cooled lava.", "tool_calls": None}, "stop", _usage(7)),
            Right(text="Basalt is cooled lava.", usage=counted(19, 7)),
        ),
        Case(
            THINKING,
            [
                FIRST,
                _wire({"content": [_thought("Granite cools ")]}),
                _wire({"content": [_thought("slowly.")]}),
                _wire({"content": [{"type": "text", "text": "Big "}]}),
                _wire({"content": "crystals."}),
                _wire({"content": ""}, "stop", usage=_usage(45)),
                DONE,
            ],
            _wire.document(
                {"content": [_thought("Granite cools slowly."), {"type": "text", "text": "Big crystals."}]},
                "stop",
                _usage(45),
            ),
            Right(text="Big crystals.", reasoning="Granite cools slowly.", usage=counted(19, 45)),
        ),
        Case(
            TOOLS,
            [
                FIRST,
                _wire(
                    {"content": "", **calls(*[call(n, *made) for n, made in enumerate(MADE)])},
                    "tool_calls",
                    usage=_usage(50),
                ),
                DONE,
            ],
            _wire.document({"content": "", "tool_calls": whole_calls(*MADE)}, "tool_calls", _usage(50)),
            Right(
                calls=(("get_weather", {"city": "Oslo"}), ("get_weather", {"city": "Lima"})),
                finish="tool_calls",
                usage=counted(19, 50),
            ),
        ),
        middle=Right(text="Basalt is ", finish=None, failed=True),
        at_end=Right(text="Basalt is cooled lava", finish=None, failed=True),
        error=Case(
            ERROR_INSIDE,
            [FIRST, _wire({"content": "Basalt "}), sse(UNAVAILABLE)],
            document(UNAVAILABLE, 503),
            Right(text="Basalt ", finish=None, failed=True),
            plain_right=FAILED,
        ),
        end=2,
    ),
    direct="mistral/magistral-medium-latest",
)
FAMILIES = (MISTRAL,)
