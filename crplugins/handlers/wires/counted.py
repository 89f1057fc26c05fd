"""The forms of rerank, moderations, pictures, recordings and speech, with what nobody thought about."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any, Final

from crplugins.handlers.wires.completion import Completion
from crplugins.handlers.wires.prompts import prompt_text, prompt_tokens, prompts_of
from crplugins.handlers.wires.wire import Wire

_PNG: Final = b64encode(
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15\xc4\x89"
    b"\x00\x00\x00\nIDATx\x9cc\x00\x01\x00\x00\x05\x00\x01\r\n-\xb4\x00\x00\x00\x00IEND\xaeB`\x82"
).decode()
"""One transparent pixel."""

_PICTURE_TOKENS: Final = 272
"""Of a square picture of low quality at OpenAI's gpt-image-1."""

_SEEN_TOKENS: Final = 194
"""Of a square picture that it is to edit."""

_SOUND: Final = b"\xff\xfb\x90\x00" + b"\x00" * 413
"""A frame of silence, as MP3 has it."""

_SAID: Final = "You said something."
_HEARD_TOKENS: Final = 20


class CountedWire(Wire):
    """What they have in common: nothing is asked of a chat model, and no answer comes in events."""

    id_prefix = "req_"
    streams = False

    def asks(self, request: Mapping[str, Any]) -> list[dict[str, Any]]:
        return []


class RerankWire(CountedWire):
    """`POST /v1/rerank`, as Jina and vLLM answer: the longer a document, the better it fits."""

    path = "/rerank"
    requires = ("query", "documents")

    def usage(self, completion: Completion, request: Mapping[str, Any]) -> Mapping[str, Any]:
        tokens = prompt_tokens(request["query"]) + prompt_tokens(list(request["documents"]))
        return {"prompt_tokens": tokens, "total_tokens": tokens}

    def whole(self, completion: Completion, request: Mapping[str, Any], *, usage: bool = True) -> dict[str, Any]:
        sizes = sorted(enumerate(map(str, request["documents"])), key=lambda each: -len(each[1]))
        results = [
            {"index": index, "relevance_score": len(text) / (1 + len(sizes[0][1])), "document": {"text": text}}
            for index, text in sizes[: request.get("top_n") or len(sizes)]
        ]
        body = {"id": completion.id, "model": completion.model, "results": results}
        return {**body, "usage": completion.usage} if usage else body


class ModerationsWire(CountedWire):
    """`POST /v1/moderations`: nothing is harmful but what says so. Nobody counts."""

    path = "/moderations"
    id_prefix = "modr-"
    requires = ("input",)

    def whole(self, completion: Completion, request: Mapping[str, Any], *, usage: bool = True) -> dict[str, Any]:
        judged = ["harm" in prompt_text(each) for each in prompts_of(request["input"])]
        results = [
            {
                "flagged": harmful,
                "categories": {"violence": harmful},
                "category_scores": {"violence": float(harmful)},
                "category_applied_input_types": {"violence": ["text"]},
            }
            for harmful in judged
        ]
        return {"id": completion.id, "model": completion.model, "results": results}


class ImagesWire(CountedWire):
    """`POST /v1/images/generations`: pictures of one pixel."""

    path = "/images/generations"
    requires: Sequence[str] = ("prompt",)

    seen = 0

    def usage(self, completion: Completion, request: Mapping[str, Any]) -> Mapping[str, Any]:
        read, drawn = prompt_tokens(request["prompt"]), _PICTURE_TOKENS * (request.get("n") or 1)
        return {
            "input_tokens": read + self.seen,
            "output_tokens": drawn,
            "total_tokens": read + self.seen + drawn,
            "input_tokens_details": {"text_tokens": read, "image_tokens": self.seen},
        }

    def whole(self, completion: Completion, request: Mapping[str, Any], *, usage: bool = True) -> dict[str, Any]:
        body = {"created": completion.created, "data": [{"b64_json": _PNG}] * (request.get("n") or 1)}
        return {**body, "usage": completion.usage} if usage else body


class ImageEditsWire(ImagesWire):
    """`POST /v1/images/edits`: the same, of one picture."""

    path = "/images/edits"
    seen = _SEEN_TOKENS


class ImageVariationsWire(ImagesWire):
    """`POST /v1/images/variations`, whose model counts nothing."""

    path = "/images/variations"
    requires = ()

    def usage(self, completion: Completion, request: Mapping[str, Any]) -> Mapping[str, Any]:
        return completion.usage

    def whole(self, completion: Completion, request: Mapping[str, Any], *, usage: bool = True) -> dict[str, Any]:
        return super().whole(completion, request, usage=False)


class TranscriptionsWire(CountedWire):
    """`POST /v1/audio/transcriptions`, and translations: one sentence, whatever was said."""

    path = "/audio/transcriptions"

    def usage(self, completion: Completion, request: Mapping[str, Any]) -> Mapping[str, Any]:
        written = 3
        return {
            "type": "tokens",
            "input_tokens": _HEARD_TOKENS,
            "input_token_details": {"text_tokens": 0, "audio_tokens": _HEARD_TOKENS},
            "output_tokens": written,
            "total_tokens": _HEARD_TOKENS + written,
        }

    def whole(self, completion: Completion, request: Mapping[str, Any], *, usage: bool = True) -> dict[str, Any]:
        return {"text": _SAID, "usage": completion.usage} if usage else {"text": _SAID}

    def raw(self, completion: Completion, request: Mapping[str, Any]) -> tuple[bytes, str] | None:
        texts = {
            "text": _SAID,
            "srt": f"1\n00:00:00,000 --> 00:00:01,000\n{_SAID}\n",
            "vtt": f"WEBVTT\n\n00:00.000 --> 00:01.000\n{_SAID}\n",
        }
        text = texts.get(str(request.get("response_format")))
        return None if text is None else (text.encode(), "text/plain; charset=utf-8")


class TranslationsWire(TranscriptionsWire):
    """`POST /v1/audio/translations`."""

    path = "/audio/translations"


class SpeechWire(CountedWire):
    """`POST /v1/audio/speech`: silence."""

    path = "/audio/speech"
    requires = ("input",)

    def whole(self, completion: Completion, request: Mapping[str, Any], *, usage: bool = True) -> dict[str, Any]:
        raise ValueError("speech is no JSON")

    def raw(self, completion: Completion, request: Mapping[str, Any]) -> tuple[bytes, str] | None:
        return _SOUND * max(len(str(request["input"])), 1), "audio/mpeg"


COUNTED_WIRES: Final = (
    RerankWire(), ModerationsWire(), ImagesWire(), ImageEditsWire(), ImageVariationsWire(), TranscriptionsWire(),
    TranslationsWire(), SpeechWire(),
)  # fmt: skip
