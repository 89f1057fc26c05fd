"""Amazon Bedrock's Converse API, its stream in AWS's binary framing.

- https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html: the events and exceptions;
  `metadata`, with the counts, comes behind `messageStop`
- https://docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html: the framing: lengths, headers, payload,
  each frame with two CRCs
- https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html: `inputTokens` leaves out the cache
"""

import json
import struct
import zlib
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
)

_STRING = 7
"""The type of a header's value."""


def frame(payload: Json, **headers: str) -> bytes:
    """One message of `application/vnd.amazon.eventstream`; `event_type` stands for the header `:event-type`."""
    named = {f":{name.replace('_', '-')}": value for name, value in headers.items()}
    named[":content-type"] = "application/json"
    head = b"".join(
        struct.pack("!B", len(name)) + name.encode() + struct.pack("!BH", _STRING, len(value)) + value.encode()
        for name, value in named.items()
    )
    body = json.dumps(payload).encode()
    prelude = struct.pack("!II", 16 + len(head) + len(body), len(head))
    checked = prelude + struct.pack("!I", zlib.crc32(prelude)) + head + body
    return checked + struct.pack("!I", zlib.crc32(checked))


def _event(type_: str, **payload: Any) -> bytes:
    return frame({**payload, "p": "abcdefgh"}, event_type=type_, message_type="event")


START = _event("messageStart", role="assistant")


def _deltas(index: int, *deltas: Json) -> list[bytes]:
    """A text or reasoning block has no start event."""
    return [
        *[_event("contentBlockDelta", contentBlockIndex=index, delta=delta) for delta in deltas],
        _event("contentBlockStop", contentBlockIndex=index),
    ]


def _tool(index: int, id_: str, *pieces: str) -> list[bytes]:
    start = {"toolUse": {"toolUseId": id_, "name": "get_weather"}}
    return [
        _event("contentBlockStart", contentBlockIndex=index, start=start),
        *_deltas(index, *[{"toolUse": {"input": piece}} for piece in pieces]),
    ]


def _usage(output: int, *, read: int = 0, written: int = 0) -> Json:
    return {"inputTokens": 30, "outputTokens": output, "totalTokens": 30 + read + written + output,
            "cacheReadInputTokens": read, "cacheWriteInputTokens": written}  # fmt: skip


def _end(reason: str, usage: Json) -> list[bytes]:
    return [_event("messageStop", stopReason=reason), _event("metadata", usage=usage, metrics={"latencyMs": 1275})]


def _answer(content: list[Json], reason: str, usage: Json) -> Plain:
    message = {"role": "assistant", "content": content}
    return document(
        {"output": {"message": message}, "stopReason": reason, "usage": usage, "metrics": {"latencyMs": 1275}}
    )


def _tool_use(id_: str, **arguments: Any) -> Json:
    return {"toolUse": {"toolUseId": id_, "name": "get_weather", "input": arguments}}


def _texts(*pieces: str) -> list[Json]:
    return [{"text": piece} for piece in pieces]


THROTTLED = {"message": "Too many requests, please wait before trying again."}
CACHED = _usage(16, read=120, written=40)
SIGNATURE = "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pk="

BEDROCK = Family(
    "bedrock",
    "bedrock/converse/anthropic.claude-3-7-sonnet-20250219-v1:0",
    cases(
        Case(
            ORDINARY,
            [START, *_deltas(0, *_texts("Copper ", "turns ", "green ", "in rain.")), *_end("end_turn", CACHED)],
            _answer(_texts("Copper turns green in rain."), "end_turn", CACHED),
            Right(text="Copper turns green in rain.", usage=counted(190, 16, cached=120, written=40)),
        ),
        Case(
            THINKING,
            [
                START,
                *_deltas(
                    0,
                    {"reasoningContent": {"text": "Rust is "}},
                    {"reasoningContent": {"text": "iron oxide."}},
                    {"reasoningContent": {"signature": SIGNATURE}},
                ),
                *_deltas(1, *_texts("Rust ", "is red.")),
                *_end("end_turn", _usage(64)),
            ],
            _answer(
                [
                    {"reasoningContent": {"reasoningText": {"text": "Rust is iron oxide.", "signature": SIGNATURE}}},
                    *_texts("Rust is red."),
                ],
                "end_turn",
                _usage(64),
            ),
            Right(text="Rust is red.", reasoning="Rust is iron oxide.", usage=counted(30, 64), thoughts_counted=False),
        ),
        Case(
            TOOLS,
            [
                START,
                *_tool(0, "tooluse_kZJMlvQmRJ6eAyJE5GIl7Q", '{"city"', ': "Oslo"}'),
                *_tool(1, "tooluse_Hz8dKk2hQeS1mZ2yXw0V5g", '{"city": "Li', 'ma"}'),
                *_end("tool_use", _usage(71)),
            ],
            _answer(
                [
                    _tool_use("tooluse_kZJMlvQmRJ6eAyJE5GIl7Q", city="Oslo"),
                    _tool_use("tooluse_Hz8dKk2hQeS1mZ2yXw0V5g", city="Lima"),
                ],
                "tool_use",
                _usage(71),
            ),
            Right(
                calls=(("get_weather", {"city": "Oslo"}), ("get_weather", {"city": "Lima"})),
                finish="tool_calls",
                usage=counted(30, 71),
            ),
        ),
        middle=Right(text="Copper turns green ", finish=None, failed=True),
        at_end=Right(text="Copper turns green in rain.", finish=None, failed=True),
        error=Case(
            ERROR_INSIDE,
            [
                START,
                *_deltas(0, *_texts("Copper "))[:1],
                frame(THROTTLED, exception_type="throttlingException", message_type="exception"),
            ],
            document(THROTTLED, 429),
            Right(text="Copper ", finish=None, failed=True),
            plain_right=FAILED,
        ),
        end=2,
        inside=True,
    ),
    path="",
    content_type="application/vnd.amazon.eventstream",
    parameters={
        "aws_access_key_id": "AKIAEXAMPLE",
        "aws_secret_access_key": "not-a-secret",
        "aws_region_name": "eu-west-1",
    },
)
FAMILIES = (BEDROCK,)
