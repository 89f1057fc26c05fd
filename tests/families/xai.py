"""xAI's API.

- https://docs.x.ai/docs/api-reference#chat-completions: usage on a chunk without choices; calls come whole
- https://docs.x.ai/docs/guides/reasoning: `reasoning_content`; `completion_tokens` leaves out `reasoning_tokens`, which
  `total_tokens` has
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

_wire = Wire(id="0daf962f-a275-4a3c-839a-047854645532", model="grok-3-mini", system_fingerprint="fp_10f00c862d")


def _usage(output: int, *, reasoning: int = 0, cached: int = 0) -> Json:
    return {"prompt_tokens": 33, "completion_tokens": output, "total_tokens": 33 + output + reasoning,
            "prompt_tokens_details": {"text_tokens": 33, "audio_tokens": 0, "image_tokens": 0, "cached_tokens": cached},
            "completion_tokens_details": {"reasoning_tokens": reasoning, "audio_tokens": 0,
                                          "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0},
            "num_sources_used": 0}  # fmt: skip


def _say(text: str) -> bytes:
    return _wire({"role": "assistant", "content": text})


def _end(finish: str, usage: Json) -> list[bytes]:
    return [_wire({"role": "assistant", "content": ""}, finish), _wire.usage(usage), DONE]


MADE = (("call_51724109", "get_weather", '{"city":"Oslo"}'), ("call_51724110", "get_weather", '{"city":"Lima"}'))
AT_CAPACITY = {"error": "The service is currently at capacity.", "code": "The service is currently unavailable"}

XAI = Family(
    "xai",
    "xai/grok-3-mini",
    cases(
        Case(
            ORDINARY,
            [*map(_say, ("Mars ", "has ", "two ", "moons.")), *_end("stop", _usage(6, cached=8))],
            _wire.document({"content": "Mars has two moons.", "refusal": None}, "stop", _usage(6, cached=8)),
            Right(text="Mars has two moons.", usage=counted(33, 6, cached=8)),
        ),
        Case(
            THINKING,
            [
                _wire({"role": "assistant", "reasoning_content": "Phobos "}),
                _wire({"role": "assistant", "reasoning_content": "and Deimos."}),
                _say("Two."),
                *_end("stop", _usage(3, reasoning=250)),
            ],
            _wire.document(
                {"content": "Two.", "reasoning_content": "Phobos and Deimos."}, "stop", _usage(3, reasoning=250)
            ),
            Right(text="Two.", reasoning="Phobos and Deimos.", usage=counted(33, 253, reasoning=250), shown=(33, 3)),
        ),
        Case(
            TOOLS,
            [
                _wire({"role": "assistant", **calls(*[call(n, *made) for n, made in enumerate(MADE)])}),
                *_end("tool_calls", _usage(48, reasoning=100)),
            ],
            _wire.document({"content": "", "tool_calls": whole_calls(*MADE)}, "tool_calls", _usage(48, reasoning=100)),
            Right(
                calls=(("get_weather", {"city": "Oslo"}), ("get_weather", {"city": "Lima"})),
                finish="tool_calls",
                usage=counted(33, 148, reasoning=100),
                shown=(33, 48),
            ),
        ),
        middle=Right(text="Mars has two ", finish=None, failed=True),
        at_end=Right(text="Mars has two moons.", finish=None, failed=True),
        error=Case(
            ERROR_INSIDE,
            [_say("Mars "), sse(AT_CAPACITY)],
            document(AT_CAPACITY, 503),
            Right(text="Mars ", finish=None, failed=True),
            plain_right=FAILED,
        ),
        end=3,
    ),
    direct="xai/grok-3-mini",
)
FAMILIES = (XAI,)
