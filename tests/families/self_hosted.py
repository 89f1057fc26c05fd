"""Servers that people run themselves: vLLM, SGLang, llama.cpp.

- https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html and /features/reasoning_outputs.html: `reasoning`
  (`reasoning_content` until 0.11), `usage: null` on no chunk, an error inside a stream as a bare event before [DONE]
- https://docs.sglang.ai/advanced_features/separate_reasoning.html: every chunk has `reasoning_content` and `tool_calls`,
  null or not, and `matched_stop`; `finish_reason` was "" on all of them but the last
- https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md: `timings` on the last chunk, calls whose first
  fragment begins the arguments, an error as `error: {...}` in the place of `data:`
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
    Right,
    cases,
    counted,
    document,
    sse,
)

MADE = (
    ("chatcmpl-tool-7f31", "get_weather", '{"city": "Oslo"}'),
    ("chatcmpl-tool-9a02", "get_weather", '{"city": "Lima"}'),
)
CALLS = (("get_weather", {"city": "Oslo"}), ("get_weather", {"city": "Lima"}))


def _usage(prompt: int, output: int, *, cached: int | None = None, **more: Any) -> Json:
    details = {} if cached is None else {"prompt_tokens_details": {"cached_tokens": cached}}
    return {"prompt_tokens": prompt, "total_tokens": prompt + output, "completion_tokens": output, **details, **more}


def _fragments(made: tuple[str, str, str], index: int, *, begun: int = 0) -> list[Json]:
    """A call in three fragments; the first has `begun` characters of the arguments."""
    id_, name, arguments = made
    return [
        call(index, id_, name, arguments[:begun]),
        call(index, None, None, arguments[begun:8]),
        call(index, None, None, arguments[8:]),
    ]


_vllm = Wire(id="chatcmpl-0c5f", model="Qwen/Qwen3-8B")


def _vllm_say(delta: Json, finish: str | None = None, **choice: Any) -> bytes:
    return _vllm(delta, finish, {"logprobs": None, **choice})


VLLM_FIRST = _vllm_say({"role": "assistant", "content": ""})
VLLM_ERROR = {
    "error": {"message": "EngineCore encountered an issue.", "type": "InternalServerError", "param": None, "code": 500}
}

VLLM = Family(
    "vllm",
    "hosted_vllm/Qwen/Qwen3-8B",
    cases(
        Case(
            ORDINARY,
            [
                VLLM_FIRST,
                *[_vllm_say({"content": word}) for word in ("Wool ", "keeps ", "warm ", "when wet.")],
                _vllm_say({"content": ""}, "stop", stop_reason=None),
                _vllm.usage(_usage(14, 9, cached=8)),
                DONE,
            ],
            _vllm.document({"content": "Wool keeps warm when wet.", "tool_calls": []}, "stop", _usage(14, 9, cached=8)),
            Right(text="Wool keeps warm when wet.", usage=counted(14, 9, cached=8)),
        ),
        Case(
            THINKING,
            [
                VLLM_FIRST,
                _vllm_say({"reasoning": "Fibres "}),
                _vllm_say({"reasoning": "trap air."}),
                _vllm_say({"content": "Air."}),
                _vllm_say({"content": ""}, "stop", stop_reason=None),
                _vllm.usage(_usage(14, 29)),
                DONE,
            ],
            _vllm.document({"content": "Air.", "reasoning": "Fibres trap air."}, "stop", _usage(14, 29)),
            Right(text="Air.", reasoning="Fibres trap air.", usage=counted(14, 29)),
        ),
        Case(
            TOOLS,
            [
                VLLM_FIRST,
                *[_vllm_say(calls(piece)) for n, made in enumerate(MADE) for piece in _fragments(made, n)],
                _vllm_say({"content": ""}, "tool_calls", stop_reason=None),
                _vllm.usage(_usage(14, 47)),
                DONE,
            ],
            _vllm.document({"content": None, "tool_calls": whole_calls(*MADE)}, "tool_calls", _usage(14, 47)),
            Right(calls=CALLS, finish="tool_calls", usage=counted(14, 47)),
        ),
        middle=Right(text="Wool keeps warm ", finish=None, failed=True),
        at_end=Right(text="Wool keeps warm when wet.", finish=None, failed=True),
        error=Case(
            ERROR_INSIDE,
            [VLLM_FIRST, _vllm_say({"content": "Wool "}), sse(VLLM_ERROR), DONE],
            document(VLLM_ERROR, 500),
            Right(text="Wool ", finish=None, failed=True),
            plain_right=FAILED,
        ),
        end=3,
        inside=True,
    ),
    direct="hosted_vllm/Qwen/Qwen3-8B",
)

_sglang = Wire(id="6e0ab1f3", model="Qwen/Qwen3-8B")


def _sglang_say(delta: Json, finish: str | None = "", stopped: Any = None) -> bytes:
    whole = {"role": None, "content": None, "reasoning_content": None, "tool_calls": None, **delta}
    return _sglang(whole, finish, {"logprobs": None, "matched_stop": stopped}, usage=None)


SGLANG_FIRST = _sglang_say({"role": "assistant", "content": ""})
SGLANG_ERROR = {
    "error": {"message": "Input length exceeds the maximum.", "type": "BadRequestError", "param": None, "code": 400}
}


def _sglang_end(finish: str, output: int) -> list[bytes]:
    return [_sglang_say({}, finish, 151645), _sglang.usage(_usage(22, output, reasoning_tokens=0)), DONE]


SGLANG = Family(
    "sglang",
    "openai/Qwen/Qwen3-8B",
    cases(
        Case(
            ORDINARY,
            [SGLANG_FIRST, *[_sglang_say({"content": word}) for word in ("Oak ", "burns ", "slowly, ", "pine fast.")], *_sglang_end("stop", 11)],
            _sglang.document({"content": "Oak burns slowly, pine fast.", "reasoning_content": None, "tool_calls": None}, "stop", _usage(22, 11)),
            Right(text="Oak burns slowly, pine fast.", usage=counted(22, 11)),
        ),
        Case(
            THINKING,
            [
                SGLANG_FIRST,
                _sglang_say({"reasoning_content": "Density "}),
                _sglang_say({"reasoning_content": "decides."}),
                _sglang_say({"content": "Dense wood."}),
                *_sglang_end("stop", 35),
            ],
            _sglang.document({"content": "Dense wood.", "reasoning_content": "Density decides."}, "stop", _usage(22, 35)),
            Right(text="Dense wood.", reasoning="Density decides.", usage=counted(22, 35)),
        ),
        Case(
            TOOLS,
            [
                SGLANG_FIRST,
                *[_sglang_say(calls(piece)) for n, made in enumerate(MADE) for piece in _fragments(made, n)],
                *_sglang_end("tool_calls", 49),
            ],
            _sglang.document({"content": None, "tool_calls": whole_calls(*MADE)}, "tool_calls", _usage(22, 49)),
            Right(calls=CALLS, finish="tool_calls", usage=counted(22, 49)),
        ),
        middle=Right(text="Oak burns slowly, ", finish=None, failed=True),
        at_end=Right(text="Oak burns slowly, pine fast.", finish=None, failed=True),
        error=Case(
            ERROR_INSIDE,
            [SGLANG_FIRST, _sglang_say({"content": "Oak "}), sse(SGLANG_ERROR), DONE],
            document({"object": "error", "message": "The request was aborted.", "type": "InternalServerError", "param": None, "code": 500}, 500),
            Right(text="Oak ", finish=None, failed=True),
            plain_right=FAILED,
        ),
        end=3,
    ),
    direct="openai/Qwen/Qwen3-8B",
)  # fmt: skip

_llama = Wire(id="chatcmpl-2jyC", model="qwen3-8b.gguf", system_fingerprint="b6890-2b8d7a1")
LLAMA_FIRST = _llama({"role": "assistant", "content": None})
LLAMA_ERROR = {"code": 500, "message": "Context size has been exceeded.", "type": "server_error"}


def _llama_end(finish: str, output: int) -> list[bytes]:
    timings = {"cache_n": 6, "prompt_n": 12, "prompt_ms": 60.4, "predicted_n": output, "predicted_ms": 210.9}
    return [_llama({}, finish), _llama.usage(_usage(18, output), timings=timings), DONE]


LLAMA_CPP = Family(
    "llama-cpp",
    "openai/qwen3-8b.gguf",
    cases(
        Case(
            ORDINARY,
            [LLAMA_FIRST, *[_llama({"content": word}) for word in ("Cork ", "floats ", "for ", "years.")], *_llama_end("stop", 7)],
            _llama.document({"content": "Cork floats for years."}, "stop", _usage(18, 7)),
            Right(text="Cork floats for years.", usage=counted(18, 7)),
        ),
        Case(
            THINKING,
            [
                LLAMA_FIRST,
                _llama({"reasoning_content": "It is "}),
                _llama({"reasoning_content": "mostly air."}),
                _llama({"content": "Air."}),
                *_llama_end("stop", 20),
            ],
            _llama.document({"content": "Air.", "reasoning_content": "It is mostly air."}, "stop", _usage(18, 20)),
            Right(text="Air.", reasoning="It is mostly air.", usage=counted(18, 20)),
        ),
        Case(
            TOOLS,
            [
                LLAMA_FIRST,
                *[_llama(calls(piece)) for n, made in enumerate(MADE) for piece in _fragments(made, n, begun=1)],
                *_llama_end("tool_calls", 41),
            ],
            _llama.document({"content": None, "tool_calls": whole_calls(*MADE)}, "tool_calls", _usage(18, 41)),
            Right(calls=CALLS, finish="tool_calls", usage=counted(18, 41)),
        ),
        middle=Right(text="Cork floats for ", finish=None, failed=True),
        at_end=Right(text="Cork floats for years.", finish=None, failed=True),
        error=Case(
            ERROR_INSIDE,
            [LLAMA_FIRST, _llama({"content": "Cork "}), f"error: {json.dumps(LLAMA_ERROR)}\n\n".encode()],
            document({"error": LLAMA_ERROR}, 500),
            Right(text="Cork ", finish=None, failed=True),
            plain_right=FAILED,
        ),
        end=3,
    ),
    direct="openai/qwen3-8b.gguf",
)  # fmt: skip
FAMILIES = (VLLM, SGLANG, LLAMA_CPP)
