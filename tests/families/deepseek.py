"""DeepSeek's API.

- https://api-docs.deepseek.com/api/create-chat-completion: usage on the chunk with the finish reason, with
  `prompt_cache_hit_tokens`; `: keep-alive` comments while the request waits (/quick_start/rate_limit)
- https://api-docs.deepseek.com/guides/thinking_mode: `reasoning_content` beside `content: null`
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
    Plain,
    Right,
    cases,
    counted,
    document,
    sse,
)

_wire = Wire(id="3f6c9a52-8f1e", model="deepseek-reasoner", system_fingerprint="fp_ffc7281d48_prod0820_fp8_kvcache")
KEEP_ALIVE = b": keep-alive\n\n"


def _usage(output: int, *, reasoning: int = 0) -> Json:
    return {"prompt_tokens": 80, "completion_tokens": output, "total_tokens": 80 + output,
            "prompt_tokens_details": {"cached_tokens": 64},
            "completion_tokens_details": {"reasoning_tokens": reasoning},
            "prompt_cache_hit_tokens": 64, "prompt_cache_miss_tokens": 16}  # fmt: skip


def _say(content: str | None, reasoning: str | None = None, finish: str | None = None, **beside: Json) -> bytes:
    return _wire({"content": content, "reasoning_content": reasoning}, finish, {"logprobs": None}, **beside)


FIRST = _wire({"role": "assistant", "content": None, "reasoning_content": ""}, None, {"logprobs": None})
MADE = (
    ("call_00_o4kUoSIi", "get_weather", '{"city": "Oslo"}'),
    ("call_01_vCq2pWn8", "get_weather", '{"city": "Lima"}'),
)
BUSY = {
    "error": {
        "message": "The server is overloaded due to high traffic.",
        "type": "server_error",
        "param": None,
        "code": "503",
    }
}

DEEPSEEK = Family(
    "deepseek",
    "deepseek/deepseek-reasoner",
    cases(
        Case(
            ORDINARY,
            [
                KEEP_ALIVE,
                FIRST,
                *map(_say, ("Owls ", "turn ", "their heads ", "270°.")),
                _say("", None, "stop", usage=_usage(10)),
                DONE,
            ],
            Plain(b"\n\n" + _wire.document({"content": "Owls turn their heads 270°."}, "stop", _usage(10)).body),
            Right(text="Owls turn their heads 270°.", usage=counted(80, 10, cached=64)),
        ),
        Case(
            THINKING,
            [
                FIRST,
                _say(None, "Count the "),
                _say(None, "neck bones."),
                KEEP_ALIVE,
                _say("Fourteen."),
                _say("", None, "stop", usage=_usage(120, reasoning=113)),
                DONE,
            ],
            _wire.document(
                {"content": "Fourteen.", "reasoning_content": "Count the neck bones."}, "stop", _usage(120, reasoning=113)
            ),
            Right(text="Fourteen.", reasoning="Count the neck bones.", usage=counted(80, 120, cached=64, reasoning=113)),
        ),
        Case(
            TOOLS,
            [
                FIRST,
                *[
                    _wire(calls(fragment))
                    for n, (id_, name, arguments) in enumerate(MADE)
                    for fragment in (call(n, id_, name, ""), call(n, None, None, arguments[:7]), call(n, None, None, arguments[7:]))
                ],
                _say("", None, "tool_calls", usage=_usage(60)),
                DONE,
            ],
            _wire.document({"content": "", "tool_calls": whole_calls(*MADE)}, "tool_calls", _usage(60)),
            Right(
                calls=(("get_weather", {"city": "Oslo"}), ("get_weather", {"city": "Lima"})),
                finish="tool_calls",
                usage=counted(80, 60, cached=64),
            ),
        ),
        middle=Right(text="Owls turn ", finish=None, failed=True),
        at_end=Right(text="Owls turn their heads 270°.", finish=None, failed=True),
        error=Case(
            ERROR_INSIDE,
            [FIRST, _say("Owls "), sse(BUSY)],
            document(BUSY, 503),
            Right(text="Owls ", finish=None, failed=True),
            plain_right=FAILED,
        ),
        end=2,
        inside=True,
    ),
    direct="deepseek/deepseek-reasoner",
)  # fmt: skip
FAMILIES = (DEEPSEEK,)
