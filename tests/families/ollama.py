"""Ollama, by its own API and by OpenAI's.

- https://docs.ollama.com/api/chat and /api/streaming: `application/x-ndjson`, a JSON object a line; the last has `done`,
  `done_reason` and the counts; https://docs.ollama.com/api/errors: a failure in a stream is a line `{"error": ...}`
- https://docs.ollama.com/capabilities/thinking: `message.thinking`; https://docs.ollama.com/capabilities/tool-calling:
  calls come whole, their arguments as an object and, until 0.12, without an id
- https://docs.ollama.com/api/openai-compatibility: `reasoning`; the finish reason is on a chunk of its own
"""

import json
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


def _fields(message: Json, output: int | None, reason: str) -> Json:
    fields = {
        "model": "qwen3:8b",
        "created_at": "2026-11-01T09:12:33.104Z",
        "message": {"role": "assistant", **message},
    }
    if output is None:
        return {**fields, "done": False}
    return {**fields, "done": True, "done_reason": reason, "total_duration": 4883583458, "load_duration": 1334875,
            "prompt_eval_count": 26, "prompt_eval_duration": 342546000, "eval_count": output, "eval_duration": 4535599000}  # fmt: skip


def _line(content: str = "", output: int | None = None, reason: str = "stop", **message: Any) -> bytes:
    return json.dumps(_fields({"content": content, **message}, output, reason), ensure_ascii=False).encode() + b"\n"


def _whole(content: str, output: int, **message: Any) -> Plain:
    return document(_fields({"content": content, **message}, output, "stop"))


def _asked(city: str) -> Json:
    return {"function": {"name": "get_weather", "arguments": {"city": city}}}


CALLS = (("get_weather", {"city": "Oslo"}), ("get_weather", {"city": "Lima"}))
RUNNER_DIED = {"error": "an error was encountered while running the model: CUDA error: out of memory"}

OLLAMA = Family(
    "ollama",
    "ollama_chat/qwen3:8b",
    cases(
        Case(
            ORDINARY,
            [*[_line(piece) for piece in ("Bees ", "see ", "ultra", "violet — ", "we do not.")], _line(output=15)],
            _whole("Bees see ultraviolet — we do not.", 15),
            Right(text="Bees see ultraviolet — we do not.", usage=counted(26, 15)),
        ),
        Case(
            THINKING,
            [
                _line(thinking="A bee has "),
                _line(thinking="five eyes."),
                _line("Five "),
                _line("eyes."),
                _line(output=31),
            ],
            _whole("Five eyes.", 31, thinking="A bee has five eyes."),
            Right(text="Five eyes.", reasoning="A bee has five eyes.", usage=counted(26, 31)),
        ),
        Case(
            TOOLS,
            [_line(tool_calls=[_asked("Oslo")]), _line(tool_calls=[_asked("Lima")]), _line(output=44)],
            _whole("", 44, tool_calls=[_asked("Oslo"), _asked("Lima")]),
            Right(calls=CALLS, finish="tool_calls", usage=counted(26, 44)),
        ),
        middle=Right(text="Bees see ultra", finish=None, failed=True),
        at_end=Right(text="Bees see ultraviolet — we do not.", finish=None, failed=True),
        error=Case(
            ERROR_INSIDE,
            [_line("Bees "), json.dumps(RUNNER_DIED).encode() + b"\n"],
            document(RUNNER_DIED, 500),
            Right(text="Bees ", finish=None, failed=True),
            plain_right=FAILED,
        ),
        end=1,
    ),
    path="",
    content_type="application/x-ndjson",
)

_wire = Wire(id="chatcmpl-329", model="qwen3:8b", system_fingerprint="fp_ollama")


def _say(delta: Json, finish: str | None = None) -> bytes:
    return _wire({"role": "assistant", "content": "", **delta}, finish)


def _usage(output: int) -> Json:
    return {"prompt_tokens": 26, "completion_tokens": output, "total_tokens": 26 + output}


def _end(reason: str, output: int) -> list[bytes]:
    return [_say({}, reason), _wire.usage(_usage(output)), DONE]


MADE = (("call_ck4mxz81", "get_weather", '{"city":"Oslo"}'), ("call_9fkvzt3q", "get_weather", '{"city":"Lima"}'))

OLLAMA_OPENAI = Family(
    "ollama-openai",
    "openai/qwen3:8b",
    cases(
        Case(
            ORDINARY,
            [*[_say({"content": piece}) for piece in ("Bees ", "see ", "ultra", "violet.")], *_end("stop", 15)],
            _wire.document({"content": "Bees see ultraviolet."}, "stop", _usage(15)),
            Right(text="Bees see ultraviolet.", usage=counted(26, 15)),
        ),
        Case(
            THINKING,
            [
                _say({"reasoning": "A bee has "}),
                _say({"reasoning": "five eyes."}),
                _say({"content": "Five eyes."}),
                *_end("stop", 31),
            ],
            _wire.document({"content": "Five eyes.", "reasoning": "A bee has five eyes."}, "stop", _usage(31)),
            Right(text="Five eyes.", reasoning="A bee has five eyes.", usage=counted(26, 31)),
        ),
        Case(
            TOOLS,
            [*[_say(calls(call(n, *made))) for n, made in enumerate(MADE)], *_end("tool_calls", 44)],
            _wire.document({"content": "", "tool_calls": whole_calls(*MADE)}, "tool_calls", _usage(44)),
            Right(calls=CALLS, finish="tool_calls", usage=counted(26, 44)),
        ),
        middle=Right(text="Bees see ultra", finish=None, failed=True),
        at_end=Right(text="Bees see ultraviolet.", finish=None, failed=True),
        error=Case(
            ERROR_INSIDE,
            [
                _say({"content": "Bees "}),
                sse({"error": {"message": RUNNER_DIED["error"], "type": "api_error", "param": None, "code": None}}),
            ],
            document(
                {"error": {"message": RUNNER_DIED["error"], "type": "api_error", "param": None, "code": None}}, 500
            ),
            Right(text="Bees ", finish=None, failed=True),
            plain_right=FAILED,
        ),
        end=3,
    ),
    direct="openai/qwen3:8b",
)
FAMILIES = (OLLAMA, OLLAMA_OPENAI)
