"""Google's own API, `streamGenerateContent?alt=sse`, of AI Studio and of Vertex AI.

- https://ai.google.dev/api/generate-content: GenerateContentResponse, FinishReason, UsageMetadata (`thoughtsTokenCount`
  stands beside `candidatesTokenCount`, `cachedContentTokenCount` within `promptTokenCount`)
- https://ai.google.dev/gemini-api/docs/thinking (parts with `thought: true`) and /thought-signatures
- https://ai.google.dev/gemini-api/docs/function-calling (parallel calls are parts of one answer, which stops with STOP)
- https://docs.cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference: Vertex AI sends counts on the
  last chunk alone, and its `trafficType` before

`finishReason` stands on the last chunk alone; nothing follows it. Events end with CRLF.
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

OVERLOADED = {
    "error": {"code": 503, "message": "The model is overloaded. Please try again later.", "status": "UNAVAILABLE"}
}


def _answer(parts: list[Json], finish: str | None, usage: Json | None, **beside: Any) -> Json:
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if finish is not None:
        candidate["finishReason"] = finish
    counts = {} if usage is None else {"usageMetadata": usage}
    return {
        "candidates": [candidate],
        **counts,
        "modelVersion": "gemini-2.5-flash",
        "responseId": "xJ4aaZ_0Ns",
        **beside,
    }


def _event(data: Json) -> bytes:
    return sse(data, end="\r\n\r\n")


def _usage(said: int, *, prompt: int = 11, thought: int = 0, cached: int = 0) -> Json:
    """What has been counted so far."""
    counts: dict[str, Any] = {"promptTokenCount": prompt, "candidatesTokenCount": said}
    if thought:
        counts["thoughtsTokenCount"] = thought
    if cached:
        counts["cachedContentTokenCount"] = cached
    details = [{"modality": "TEXT", "tokenCount": prompt}]
    return {**counts, "totalTokenCount": prompt + said + thought, "promptTokensDetails": details}


def _family(name: str, model: str, *, early_counts: bool, **options: Any) -> Family:
    def stream(*pieces: tuple[list[Json], Json], finish: str | None = "STOP") -> list[bytes]:
        """(parts, counts so far) of each chunk."""
        last = len(pieces) - 1
        early = {"trafficType": "ON_DEMAND"}
        return [
            _event(_answer(parts, finish if n == last else None, usage if early_counts or n == last else early))
            for n, (parts, usage) in enumerate(pieces)
        ]

    words = ["A comet ", "is a ball ", "of ice ", "— and dust."]
    ordinary = Case(
        ORDINARY,
        [
            *stream(*[([{"text": word}], _usage(3 * n, cached=4)) for n, word in enumerate(words, 1)], finish=None),
            _event(_answer([{"text": ""}], "STOP", _usage(13, cached=4))),
        ],
        document(_answer([{"text": "".join(words)}], "STOP", _usage(13, cached=4))),
        Right(text="".join(words), usage=counted(11, 13, cached=4)),
    )
    thought, signature = "The user wants a number.", "CiQBVKhc7nYQm5A="
    thinking = Case(
        THINKING,
        stream(
            ([{"text": "The user ", "thought": True}], _usage(0, thought=2)),
            ([{"text": "wants a number.", "thought": True}], _usage(0, thought=41)),
            ([{"text": "It is "}], _usage(2, thought=41)),
            ([{"text": "42.", "thoughtSignature": signature}], _usage(5, thought=41)),
        ),
        document(
            _answer(
                [{"text": thought, "thought": True}, {"text": "It is 42.", "thoughtSignature": signature}],
                "STOP",
                _usage(5, thought=41),
            )
        ),
        Right(text="It is 42.", reasoning=thought, usage=counted(11, 46, reasoning=41)),
    )
    oslo = {"functionCall": {"name": "get_weather", "args": {"city": "Oslo"}}, "thoughtSignature": signature}
    lima = {"functionCall": {"name": "get_weather", "args": {"city": "Lima", "days": 2}}}
    tools = Case(
        TOOLS,
        stream(
            ([oslo], _usage(9, thought=20)), ([lima], _usage(24, thought=20)), ([{"text": ""}], _usage(24, thought=20))
        ),
        document(_answer([oslo, lima], "STOP", _usage(24, thought=20))),
        Right(
            calls=(("get_weather", {"city": "Oslo"}), ("get_weather", {"city": "Lima", "days": 2})),
            finish="tool_calls",
            usage=counted(11, 44, reasoning=20),
        ),
    )
    error = Case(
        ERROR_INSIDE,
        [*stream(([{"text": "A comet "}], _usage(3)), finish=None), _event(OVERLOADED)],
        document(OVERLOADED, 503),
        Right(text="A comet ", finish=None, failed=True, usage=counted(11, 1) if early_counts else None),
        plain_right=FAILED,
    )
    return Family(
        name,
        model,
        cases(
            ordinary,
            thinking,
            tools,
            middle=Right(
                text="A comet is a ball ",
                finish=None,
                failed=True,
                usage=counted(11, 6, cached=4) if early_counts else None,
            ),
            at_end=Right(
                text="".join(words), finish=None, failed=True, usage=counted(11, 12, cached=4) if early_counts else None
            ),
            error=error,
            end=1,
        ),
        **options,
    )


GEMINI = _family("gemini", "gemini/gemini-2.5-flash", early_counts=True, path="")
VERTEX = _family(
    "vertex",
    "vertex_ai/gemini-2.5-flash",
    early_counts=False,
    path="",
    parameters={"vertex_project": "a-project", "vertex_location": "europe-west1"},
)
FAMILIES = (GEMINI, VERTEX)
