"""Azure OpenAI, with its default filter and with the asynchronous one.

https://learn.microsoft.com/azure/foundry/openai/concepts/content-streaming and
https://learn.microsoft.com/azure/foundry/openai/concepts/content-filter-annotations: the first event has
`prompt_filter_results` and no choice. By default each chunk has its `content_filter_results`. The asynchronous filter
sends them later, on chunks whose choice has `content_filter_offsets` and no delta, some of them behind the finish
reason. A filter that strikes inside a stream ends it with the finish reason `content_filter`. Azure's models keep their
reasoning to themselves, and only count it.
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
    sse,
)

SAFE = {name: {"filtered": False, "severity": "safe"} for name in ("hate", "self_harm", "sexual", "violence")}
_wire = Wire(id="chatcmpl-CXk2Vb0m", model="gpt-5-mini-2025-08-07", system_fingerprint="fp_azure_1f8b2c")
PROMPT = sse(
    {"choices": [], "created": 0, "id": "", "model": "", "object": "",
     "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": SAFE}]}
)  # fmt: skip


def _usage(output: int, *, reasoning: int = 0, cached: int = 0) -> Json:
    return {"prompt_tokens": 25, "completion_tokens": output, "total_tokens": 25 + output,
            "completion_tokens_details": {"accepted_prediction_tokens": 0, "audio_tokens": 0,
                                          "reasoning_tokens": reasoning, "rejected_prediction_tokens": 0},
            "prompt_tokens_details": {"audio_tokens": 0, "cached_tokens": cached}}  # fmt: skip


def _filtered(start: int, end: int) -> bytes:
    """A chunk of the asynchronous filter: no delta, only what it found in this part of the text."""
    offsets = {"check_offset": start, "start_offset": start, "end_offset": end}
    choice = {"content_filter_results": SAFE, "content_filter_offsets": offsets, "finish_reason": None, "index": 0}
    return sse({"id": "", "object": "", "created": 0, "model": "", "choices": [choice]})


INTERNAL = {
    "error": {
        "message": "The server had an error while processing your request.",
        "type": "server_error",
        "param": None,
        "code": None,
    }
}
CALLS = (("get_weather", {"city": "Oslo"}), ("get_weather", {"city": "Lima"}))
MADE = (("call_lSuYfQ2h", "get_weather", '{"city":"Oslo"}'), ("call_6pK4wNxA", "get_weather", '{"city":"Lima"}'))
WORDS = ("Bread ", "needs ", "time ", "and salt.")


def _family(name: str, *, asynchronous: bool) -> Family:
    results: dict[str, Any] = {} if asynchronous else {"content_filter_results": SAFE}

    def say(delta: Json) -> bytes:
        return _wire(delta, None, {"logprobs": None, **results})

    first = say({"role": "assistant", "content": "", "refusal": None})

    def stream(*deltas: Json, finish: str = "stop", usage: Json) -> list[bytes]:
        said = [say(delta) for delta in deltas]
        last = _wire({}, finish, {"logprobs": None, **({} if asynchronous else {"content_filter_results": {}})})
        if not asynchronous:
            return [PROMPT, first, *said, last, _wire.usage(usage), DONE]
        return [PROMPT, first, *said[:1], _filtered(0, 6), *said[1:], last, _wire.usage(usage), _filtered(6, 25), DONE]

    def whole(message: Json, finish: str, usage: Json) -> Any:
        return _wire.document({"content": None, "refusal": None, **message}, finish, usage, {"content_filter_results": SAFE, "logprobs": None},
                              prompt_filter_results=[{"prompt_index": 0, "content_filter_results": SAFE}])  # fmt: skip

    return Family(
        name,
        "azure/gpt-5-mini",
        cases(
            Case(
                ORDINARY,
                stream(*[{"content": word} for word in WORDS], usage=_usage(8, cached=16)),
                whole({"content": "".join(WORDS)}, "stop", _usage(8, cached=16)),
                Right(text="".join(WORDS), usage=counted(25, 8, cached=16)),
            ),
            Case(
                THINKING,
                stream({"content": "Two "}, {"content": "hours."}, usage=_usage(203, reasoning=192)),
                whole({"content": "Two hours."}, "stop", _usage(203, reasoning=192)),
                Right(text="Two hours.", usage=counted(25, 203, reasoning=192)),
            ),
            Case(
                TOOLS,
                stream(
                    *[
                        calls(fragment)
                        for n, (id_, function, arguments) in enumerate(MADE)
                        for fragment in (
                            call(n, id_, function, ""),
                            call(n, None, None, arguments[:9]),
                            call(n, None, None, arguments[9:]),
                        )
                    ],
                    finish="tool_calls",
                    usage=_usage(44),
                ),
                whole({"tool_calls": whole_calls(*MADE)}, "tool_calls", _usage(44)),
                Right(calls=CALLS, finish="tool_calls", usage=counted(25, 44)),
            ),
            middle=Right(text="Bread needs ", finish=None, failed=True),
            at_end=Right(text="".join(WORDS), finish=None, failed=True),
            error=Case(
                ERROR_INSIDE,
                [PROMPT, first, say({"content": "Bread "}), sse(INTERNAL)],
                document(INTERNAL, 500),
                Right(text="Bread ", finish=None, failed=True),
                plain_right=FAILED,
            ),
            end=4 if asynchronous else 3,
        ),
        direct="openai/gpt-5-mini",
        path="",
        parameters={"api_version": "2024-10-21"},
    )


AZURE = _family("azure", asynchronous=False)
AZURE_ASYNCHRONOUS = _family("azure-asynchronous-filter", asynchronous=True)
FAMILIES = (AZURE, AZURE_ASYNCHRONOUS)
