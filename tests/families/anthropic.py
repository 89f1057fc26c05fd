"""Anthropic's Messages API.

- https://platform.claude.com/docs/en/build-with-claude/streaming: named events, `ping`, errors inside a stream; the
  output count of `message_start` is no last one, that of `message_delta` is cumulative
- https://platform.claude.com/docs/en/build-with-claude/extended-thinking: `thinking_delta`, `signature_delta`
- https://platform.claude.com/docs/en/build-with-claude/prompt-caching: `input_tokens` leaves out what was read from the
  cache and written to it
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
    Right,
    cases,
    counted,
    document,
    sse,
)

MODEL = "claude-sonnet-4-5-20250929"
CACHED = {"input_tokens": 21, "cache_creation_input_tokens": 30, "cache_read_input_tokens": 200}
PLAIN = {"input_tokens": 21, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
PING = sse({"type": "ping"}, "ping")


def _event(type_: str, **fields: Any) -> bytes:
    return sse({"type": type_, **fields}, type_)


def _start(usage: Json) -> bytes:
    message = {"id": "msg_01XFDUDYJgAACzvnptvVoYEL", "type": "message", "role": "assistant", "content": [], "model": MODEL,
               "stop_reason": None, "stop_sequence": None, "usage": {**usage, "output_tokens": 1}}  # fmt: skip
    return _event("message_start", message=message)


def _block(index: int, block: Json, *deltas: Json) -> list[bytes]:
    return [
        _event("content_block_start", index=index, content_block=block),
        *[_event("content_block_delta", index=index, delta=delta) for delta in deltas],
        _event("content_block_stop", index=index),
    ]


def _end(reason: str, usage: Json, output: int) -> list[bytes]:
    delta = {"stop_reason": reason, "stop_sequence": None}
    return [_event("message_delta", delta=delta, usage={**usage, "output_tokens": output}), _event("message_stop")]


def _text(*pieces: str) -> list[Json]:
    return [{"type": "text_delta", "text": piece} for piece in pieces]


def _arguments(*pieces: str) -> list[Json]:
    return [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]


def _message(content: list[Json], reason: str, usage: Json, output: int) -> Any:
    return document(
        {"id": "msg_01XFDUDYJgAACzvnptvVoYEL", "type": "message", "role": "assistant", "model": MODEL, "content": content,
         "stop_reason": reason, "stop_sequence": None, "usage": {**usage, "output_tokens": output}}
    )  # fmt: skip


TEXT = {"type": "text", "text": ""}
SIGNATURE = "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pk="
TOOL_USES = (("toolu_01T1x1fJ34qAmk2tNTrN7Up6", "Oslo"), ("toolu_01A09q90qw90lq917835lq9", "Lima"))


def _tool(id_: str, city: str | None = None) -> Json:
    return {"type": "tool_use", "id": id_, "name": "get_weather", "input": {} if city is None else {"city": city}}


ANTHROPIC = Family(
    "anthropic",
    f"anthropic/{MODEL}",
    cases(
        Case(
            ORDINARY,
            [_start(CACHED), PING, *_block(0, TEXT, *_text("Rain ", "falls ", "mainly ", "in Bergen.")), *_end("end_turn", CACHED, 18)],
            _message([{"type": "text", "text": "Rain falls mainly in Bergen."}], "end_turn", CACHED, 18),
            Right(text="Rain falls mainly in Bergen.", usage=counted(251, 18, cached=200, written=30)),
        ),
        Case(
            THINKING,
            [
                _start(PLAIN),
                *_block(
                    0,
                    {"type": "thinking", "thinking": "", "signature": ""},
                    {"type": "thinking_delta", "thinking": "17 times 3 "},
                    {"type": "thinking_delta", "thinking": "is 51."},
                    {"type": "signature_delta", "signature": SIGNATURE},
                ),
                *_block(1, TEXT, *_text("The product ", "is 51.")),
                *_end("end_turn", PLAIN, 77),
            ],
            _message(
                [
                    {"type": "thinking", "thinking": "17 times 3 is 51.", "signature": SIGNATURE},
                    {"type": "text", "text": "The product is 51."},
                ],
                "end_turn",
                PLAIN,
                77,
            ),
            Right(text="The product is 51.", reasoning="17 times 3 is 51.", usage=counted(21, 77), thoughts_counted=False),
        ),
        Case(
            TOOLS,
            [
                _start(PLAIN),
                *_block(0, TEXT, *_text("I look ", "it up.")),
                *_block(1, _tool(TOOL_USES[0][0]), *_arguments("", '{"city": ', '"Oslo"}')),
                PING,
                *_block(2, _tool(TOOL_USES[1][0]), *_arguments("", '{"ci', 'ty": "Lima"}')),
                *_end("tool_use", PLAIN, 89),
            ],
            _message(
                [{"type": "text", "text": "I look it up."}, *[_tool(*use) for use in TOOL_USES]], "tool_use", PLAIN, 89
            ),
            Right(
                text="I look it up.",
                calls=(("get_weather", {"city": "Oslo"}), ("get_weather", {"city": "Lima"})),
                finish="tool_calls",
                usage=counted(21, 89),
            ),
        ),
        middle=Right(text="Rain falls ", finish=None, failed=True, usage=counted(251, 1, cached=200, written=30)),
        at_end=Right(text="Rain falls mainly in Bergen.", finish=None, failed=True, usage=counted(251, 1, cached=200, written=30)),
        error=Case(
            ERROR_INSIDE,
            [_start(PLAIN), *_block(0, TEXT, *_text("Rain "))[:2], sse(OVERLOADED, "error")],
            document(OVERLOADED, 529),
            Right(text="Rain ", finish=None, failed=True, usage=counted(21, 1)),
            plain_right=FAILED,
        ),
        end=2,
        inside=True,
    ),
    path="",
)  # fmt: skip
FAMILIES = (ANTHROPIC,)
