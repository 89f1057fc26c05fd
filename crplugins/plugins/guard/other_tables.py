"""The tables of the protocols besides chat completions; see `tables.py`."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from crplugins.plugins.guard.anthropic import BLOCKS_TABLE, STRICT_BLOCKS_TABLE, in_anthropics_words
from crplugins.plugins.guard.checks import (
    AnyObject,
    Array,
    Boolean,
    Check,
    Decimal,
    Either,
    Integer,
    Object,
    OneOf,
    String,
    Tagged,
)
from crplugins.plugins.guard.parameters import PARAMETERS
from crplugins.plugins.guard.prompts import Prompts
from crplugins.plugins.guard.tables import STREAMED, RequestTable

_TEXT = String(nullable=False)
_STOP = PARAMETERS["stop"]
_USER: Mapping[str, Check] = {"user": String()}
_SAMPLED: Mapping[str, Check] = {
    name: PARAMETERS[name] for name in ("temperature", "top_p", "stream", "stream_options")
}  # fmt: skip


def _completions(*, strict: bool) -> RequestTable:
    shared = ("presence_penalty", "frequency_penalty", "logit_bias", "seed", "n")
    checks: dict[str, Check] = {
        "prompt": Prompts(),
        "suffix": String(),
        "max_tokens": Integer(0),
        "best_of": Integer(0, 20) if strict else Integer(0),
        "echo": Boolean(),
        "logprobs": Integer(0, 5) if strict else Integer(0),
        "stop": _STOP,
        **{name: PARAMETERS[name] for name in shared},
        **_SAMPLED,
        **_USER,
    }
    required = ("prompt",) if strict else ("prompt", "prompt_embeds")  # vLLM's
    return RequestTable(checks=checks, required=(required,), only_with=STREAMED)


def _embeddings(*, strict: bool) -> RequestTable:
    checks: dict[str, Check] = {
        "input": Prompts(shortest=1, most=2048) if strict else Prompts(pictures=True),
        "dimensions": Integer(1),
        "encoding_format": OneOf(("float", "base64"), open=True),
        **_USER,
    }
    required = ("input",) if strict else ("input", "messages")  # vLLM's
    return RequestTable(checks=checks, required=(required,))


_NAME = String(128, 1, nullable=False)
_ITEM = Object({
    "type": String(), "role": OneOf(("user", "assistant", "system", "developer"), open=True), "id": String(),
    "content": Either({b'"': String(), b"[": Array(AnyObject(nullable=False))}, "one of a string or array of objects"),
})  # fmt: skip
_RESPONSE_TOOL = Tagged(
    {
        "function": Object(
            {"name": _NAME, "description": String(), "parameters": AnyObject(), "strict": Boolean()}, ("name",)
        ),
        "custom": Object({"name": _NAME, "description": String()}, ("name",)),
    },
    open=True,
)
_FORMAT = Tagged({
    "text": Object({}), "json_object": Object({}),
    "json_schema": Object(
        {"name": _NAME, "schema": AnyObject(nullable=False), "strict": Boolean()}, ("name", "schema")
    ),
}, nullable=True)  # fmt: skip


def _responses(*, strict: bool) -> RequestTable:
    same = (
        "metadata", "parallel_tool_calls", "prompt_cache_key", "prompt_cache_retention", "safety_identifier",
        "service_tier", "store", "stream", "temperature", "top_logprobs", "top_p", "user",
    )  # fmt: skip
    effort = PARAMETERS["reasoning_effort"]
    checks: dict[str, Check] = {
        "input": Either({b'"': String(), b"[": Array(_ITEM)}, "one of a string or array of input items"),
        "instructions": Either({b'"': String(), b"[": Array(_ITEM)}, "a string"),
        "max_output_tokens": Integer(16 if strict else 1),
        "max_tool_calls": Integer(1),
        "previous_response_id": String(),
        "conversation": Either({b'"': String(), b"{": AnyObject()}, "one of a string or object"),
        "prompt": AnyObject(),
        "background": Boolean(),
        "include": Array(_TEXT, expected="an array of strings"),
        "reasoning": Object({
            "effort": effort if strict else String(), "summary": OneOf(("auto", "concise", "detailed"), open=True),
        }, nullable=True),
        "text": Object({"format": _FORMAT, "verbosity": PARAMETERS["verbosity"]}, nullable=True),
        "tools": Array(_RESPONSE_TOOL),
        "tool_choice": Either(
            {b'"': OneOf(("none", "auto", "required"), open=True), b"{": AnyObject()}, "one of a string or object"
        ),
        "truncation": OneOf(("auto", "disabled")),
        "stream_options": Object({"include_obfuscation": Boolean()}, nullable=True),
        **{name: PARAMETERS[name] for name in same},
    }  # fmt: skip
    checks["parallel_tool_calls"] = Boolean()
    required = ("input", "previous_response_id", "prompt", "conversation")
    return RequestTable(checks=checks, required=(required,), only_with=STREAMED, open=True)


def _compact(*, strict: bool) -> RequestTable:
    return msgspec.structs.replace(_responses(strict=strict), required=(("input", "previous_response_id"),))


_DOCUMENTS = Array(
    Either({b'"': String(), b"{": AnyObject()}, "one of a string or object"), 1, nullable=False,
    expected="an array of strings",
)  # fmt: skip


def _rerank(*, strict: bool) -> RequestTable:  # noqa: ARG001
    return RequestTable(
        checks={
            "query": Either({b'"': _TEXT, b"{": AnyObject()}, "a string", nullable=False),
            "documents": Either({b"[": _DOCUMENTS, b"{": AnyObject()}, "an array of strings", nullable=False),  # vLLM's
            "top_n": Integer(1),
            "return_documents": Boolean(),
        },
        required=(("query",), ("documents",)),
    )


_JUDGED = Array(Either({b'"': String(), b"{": AnyObject()}, "one of a string or object"), 1)


def _moderations(*, strict: bool) -> RequestTable:  # noqa: ARG001
    return RequestTable(
        checks={"input": Either({b'"': _TEXT, b"[": _JUDGED}, "one of a string or array of strings", nullable=False)},
        required=(("input",),),
    )


def _images(*, strict: bool) -> RequestTable:
    checks: dict[str, Check] = {
        "prompt": String(32000 if strict else None, nullable=False),
        "n": Integer(1, 10) if strict else Integer(1),
        "size": String(),
        "quality": String(),
        "response_format": OneOf(("url", "b64_json"), open=True),
        "output_format": OneOf(("png", "jpeg", "webp", "gif", "svg"), open=True),
        "output_compression": Integer(0, 100),
        "partial_images": Integer(0, 3),
        "background": OneOf(("transparent", "opaque", "auto"), open=True),
        "moderation": OneOf(("low", "auto"), open=True),
        "style": String(),
        "complexity": OneOf(("low", "medium", "high"), open=True),
        "frame_count": Integer(1),
        "frame_duration_ms": Integer(1),
        "svg": AnyObject(),
        "safety_identifier": PARAMETERS["safety_identifier"],
        "stream": Boolean(),
        **_USER,
    }
    return RequestTable(checks=checks, required=(("prompt",),))


def _image_edits(*, strict: bool) -> RequestTable:
    """Of a form, whose pictures are files, and of JSON."""
    picture = Either({b"{": Object({"image_url": String(), "file_id": String()}), b'"': String()}, "an object")
    pictures = Either({b"[": Array(picture, 1, 16 if strict else None), b"{": picture}, "an array of objects")
    checks: dict[str, Check] = {
        "images": pictures,
        "mask": picture,
        "markup": picture,
        **dict.fromkeys(("svg[model]", "svg[reasoning][effort]"), String()),
        "input_fidelity": OneOf(("high", "low"), open=True),
    }
    table = _images(strict=strict)
    return msgspec.structs.replace(
        table, checks={**table.checks, **checks}, attached=("image", "image[]", "images[]", "images")
    )


def _image_variations(*, strict: bool) -> RequestTable:
    """Of a form alone."""
    checks = _images(strict=strict).checks
    names = ("n", "size", "response_format", "user")
    return RequestTable(checks={name: checks[name] for name in names}, attached=("image", "image[]"))


def _speech(*, strict: bool) -> RequestTable:
    checks: dict[str, Check] = {
        "input": String(4096 if strict else None, nullable=False),
        "voice": Either({b'"': _TEXT, b"{": AnyObject()}, "one of a string or object", nullable=False),
        "instructions": String(4096 if strict else None),
        "response_format": OneOf(("mp3", "opus", "aac", "flac", "wav", "pcm"), open=True),
        "speed": Decimal(0.25, 4),
        "stream_format": OneOf(("sse", "audio"), open=True),
    }
    return RequestTable(checks=checks, required=(("input",), *((("voice",),) if strict else ())))


def _recorded(*, strict: bool) -> RequestTable:
    """Of transcriptions and translations, whose fields are texts."""
    formats = ("json", "text", "srt", "verbose_json", "vtt", "diarized_json")
    names = ("language", "prompt", "temperature", "chunking_strategy")
    checks: dict[str, Check] = {"response_format": OneOf(formats, open=True), **dict.fromkeys(names, String())}
    if strict:
        more = ("include[]", "timestamp_granularities[]", "known_speaker_names[]", "known_speaker_references[]")
        checks |= {"stream": Boolean(), **dict.fromkeys(more, Array(_TEXT))}
    return RequestTable(checks=checks, attached=("file", "url"))


def _messages(*, strict: bool) -> RequestTable:
    return RequestTable(
        checks=STRICT_BLOCKS_TABLE if strict else BLOCKS_TABLE,
        required=(("max_tokens",), ("messages",)),
        open=True,
        reword=in_anthropics_words,
    )


def _count_tokens(*, strict: bool) -> RequestTable:
    return msgspec.structs.replace(_messages(strict=strict), required=(("messages",),))


MADE: Final[Mapping[str, Callable[..., RequestTable]]] = MappingProxyType({
    "completions": _completions, "responses": _responses, "compact": _compact, "messages": _messages,
    "count_tokens": _count_tokens, "embeddings": _embeddings, "images": _images, "image_edits": _image_edits,
    "image_variations": _image_variations, "transcriptions": _recorded, "translations": _recorded, "speech": _speech,
    "rerank": _rerank, "moderations": _moderations,
})  # fmt: skip
