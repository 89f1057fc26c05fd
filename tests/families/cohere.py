"""Cohere's v2 Chat API.

- https://docs.cohere.com/v2/docs/streaming: the events; `message-end` has the finish reason and the usage
- https://docs.cohere.com/v2/docs/tool-use-streaming: `tool-plan-delta`, `tool-call-start`, `tool-call-delta`
- https://docs.cohere.com/v2/docs/reasoning: content of the type `thinking`
- https://docs.cohere.com/reference/chat-stream: a model that fails ends with the finish reason ERROR
"""

from typing import Any

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

ID = "29f14a5a-11de-4cae-9800-25e4747408ea"


def _event(type_: str, message: Json | None = None, **fields: Any) -> bytes:
    delta = {} if message is None else {"delta": {"message": message}}
    return sse({"type": type_, **fields, **delta}, type_)


def _usage(output: int) -> Json:
    return {
        "billed_units": {"input_tokens": 8, "output_tokens": output},
        "tokens": {"input_tokens": 8, "output_tokens": output},
    }


START = sse(
    {"id": ID, "type": "message-start",
     "delta": {"message": {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}}},
    "message-start",
)  # fmt: skip


def _content(index: int, kind: str, *pieces: str) -> list[bytes]:
    """A block of text or thinking: both the type and the field have that name."""
    return [
        _event("content-start", {"content": {"type": kind, kind: ""}}, index=index),
        *[_event("content-delta", {"content": {kind: piece}}, index=index) for piece in pieces],
        _event("content-end", index=index),
    ]


def _call(index: int, id_: str, *pieces: str) -> list[bytes]:
    begun = {"id": id_, "type": "function", "function": {"name": "get_weather", "arguments": ""}}
    return [
        _event("tool-call-start", {"tool_calls": begun}, index=index),
        *[
            _event("tool-call-delta", {"tool_calls": {"function": {"arguments": piece}}}, index=index)
            for piece in pieces
        ],
        _event("tool-call-end", index=index),
    ]


def _end(reason: str, usage: Json, **beside: Any) -> list[bytes]:
    delta = {"finish_reason": reason, **beside, "usage": usage}
    return [sse({"type": "message-end", "id": ID, "delta": delta}, "message-end"), sse("[DONE]")]


def _message(message: Json, reason: str, usage: Json) -> Plain:
    return document({"id": ID, "message": {"role": "assistant", **message}, "finish_reason": reason, "usage": usage})


CALLS = (("get_weather_5e1n7ypj", '{"city": "Oslo"}'), ("get_weather_w1rkpq2e", '{"city": "Lima"}'))

COHERE = Family(
    "cohere",
    "cohere_chat/command-a-03-2025",
    cases(
        Case(
            ORDINARY,
            [START, *_content(0, "text", "Tides ", "follow ", "the ", "moon."), *_end("COMPLETE", _usage(9))],
            _message({"content": [{"type": "text", "text": "Tides follow the moon."}]}, "COMPLETE", _usage(9)),
            Right(text="Tides follow the moon.", usage=counted(8, 9)),
        ),
        Case(
            THINKING,
            [
                START,
                *_content(0, "thinking", "Spring tides ", "come at new moon."),
                *_content(1, "text", "At new ", "moon."),
                *_end("COMPLETE", _usage(33)),
            ],
            _message(
                {
                    "content": [
                        {"type": "thinking", "thinking": "Spring tides come at new moon."},
                        {"type": "text", "text": "At new moon."},
                    ]
                },
                "COMPLETE",
                _usage(33),
            ),
            Right(text="At new moon.", reasoning="Spring tides come at new moon.", usage=counted(8, 33)),
        ),
        Case(
            TOOLS,
            [
                START,
                _event("tool-plan-delta", {"tool_plan": "I will"}),
                _event("tool-plan-delta", {"tool_plan": " ask twice."}),
                *_call(0, CALLS[0][0], '{"city":', ' "Oslo"}'),
                *_call(1, CALLS[1][0], '{"city": "Li', 'ma"}'),
                *_end("TOOL_CALL", _usage(52)),
            ],
            _message(
                {
                    "tool_plan": "I will ask twice.",
                    "tool_calls": [
                        {"id": id_, "type": "function", "function": {"name": "get_weather", "arguments": arguments}}
                        for id_, arguments in CALLS
                    ],
                },
                "TOOL_CALL",
                _usage(52),
            ),
            Right(
                calls=(("get_weather", {"city": "Oslo"}), ("get_weather", {"city": "Lima"})),
                finish="tool_calls",
                usage=counted(8, 52),
            ),
        ),
        middle=Right(text="Tides follow ", finish=None, failed=True),
        at_end=Right(text="Tides follow the moon.", finish=None, failed=True),
        error=Case(
            ERROR_INSIDE,
            [START, *_content(0, "text", "Tides ")[:2], *_end("ERROR", _usage(2), error="generation failed")],
            document({"id": ID, "message": "an internal error occurred"}, 500),
            Right(text="Tides ", finish=None, failed=True, usage=counted(8, 2)),
            plain_right=FAILED,
        ),
        end=2,
    ),
    path="/v2/chat",
)
FAMILIES = (COHERE,)
