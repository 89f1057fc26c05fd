"""Zhipu's API: GLM.

- https://docs.z.ai/api-reference/llm/chat-completion: usage on the chunk with the finish reason, among them
  `network_error` for a model that failed; https://docs.z.ai/api-reference/api-code: errors have a code and a message
- https://docs.z.ai/guides/tools/stream-tool: arguments of a call in pieces, its id and name on the first alone
- https://docs.z.ai/guides/capabilities/thinking-mode: `reasoning_content`
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
)

_wire = Wire(id="20261101172534c2f0", request_id="20261101172534c2f0", model="glm-4.6")


def _usage(output: int, *, cached: int = 0) -> Json:
    return {"prompt_tokens": 17, "completion_tokens": output, "total_tokens": 17 + output,
            "prompt_tokens_details": {"cached_tokens": cached}}  # fmt: skip


def _say(text: str) -> bytes:
    return _wire({"role": "assistant", "content": text})


def _think(text: str) -> bytes:
    return _wire({"role": "assistant", "reasoning_content": text})


def _end(finish: str, usage: Json) -> list[bytes]:
    return [_wire({"role": "assistant", "content": ""}, finish, usage=usage), DONE]


MADE = (
    ("call_-8284756124", "get_weather", '{"city": "Oslo"}'),
    ("call_-8284756125", "get_weather", '{"city": "Lima"}'),
)

GLM = Family(
    "glm",
    "zai/glm-4.6",
    cases(
        Case(
            ORDINARY,
            [*map(_say, ("竹子 ", "grows ", "one metre ", "a day.")), *_end("stop", _usage(12, cached=16))],
            _wire.document({"content": "竹子 grows one metre a day."}, "stop", _usage(12, cached=16)),
            Right(text="竹子 grows one metre a day.", usage=counted(17, 12, cached=16)),
        ),
        Case(
            THINKING,
            [_think("Bamboo is "), _think("a grass."), _say("A grass."), *_end("stop", _usage(40))],
            _wire.document({"content": "A grass.", "reasoning_content": "Bamboo is a grass."}, "stop", _usage(40)),
            Right(text="A grass.", reasoning="Bamboo is a grass.", usage=counted(17, 40)),
        ),
        Case(
            TOOLS,
            [
                *[
                    _wire({"role": "assistant", **calls(fragment)})
                    for n, (id_, name, arguments) in enumerate(MADE)
                    for fragment in (call(n, id_, name, arguments[:5]), call(n, None, None, arguments[5:]))
                ],
                *_end("tool_calls", _usage(36)),
            ],
            _wire.document({"content": "", "tool_calls": whole_calls(*MADE)}, "tool_calls", _usage(36)),
            Right(
                calls=(("get_weather", {"city": "Oslo"}), ("get_weather", {"city": "Lima"})),
                finish="tool_calls",
                usage=counted(17, 36),
            ),
        ),
        middle=Right(text="竹子 grows one metre ", finish=None, failed=True),
        at_end=Right(text="竹子 grows one metre a day.", finish=None, failed=True),
        error=Case(
            ERROR_INSIDE,
            [_say("竹子 "), *_end("network_error", _usage(2))],
            document({"error": {"code": "1234", "message": "Network error, please contact customer service"}}, 500),
            Right(text="竹子 ", finish=None, failed=True, usage=counted(17, 2)),
            plain_right=FAILED,
        ),
        end=2,
    ),
    direct="zai/glm-4.6",
    path="/api/paas/v4",
)
FAMILIES = (GLM,)
