"""The form of completions (OpenAI, "Create completion"): each prompt of a list has `n` choices, one after another."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any, Final

from crplugins.handlers.wires.chat import DONE, FINGERPRINT
from crplugins.handlers.wires.completion import Completion, ModelChoice, grouped, usage_object
from crplugins.handlers.wires.prompts import prompt_text, prompt_tokens, prompts_of
from crplugins.handlers.wires.wire import UsagePlace, Wire, frame

_SHARED: Final = ("max_tokens", "stop", "n")


class CompletionsWire(Wire):
    """`POST /v1/completions`."""

    path = "/completions"
    id_prefix = "cmpl-"
    always_tells_usage = False
    requires = ("prompt",)

    def asks(self, request: Mapping[str, Any]) -> list[dict[str, Any]]:
        shared = {name: request[name] for name in ("model", *_SHARED) if request.get(name) is not None}
        texts = [prompt_text(prompt) for prompt in prompts_of(request["prompt"])]
        return [{**shared, "messages": [{"role": "user", "content": text}]} for text in texts]

    def usage(self, completion: Completion, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Of `best_of` candidates `n` are shown, and all are paid for."""
        shown = request.get("n") or 1
        generated = sum(len(choice.tokens) for choice in completion.choices) // shown
        return usage_object(prompt_tokens(request["prompt"]), generated * max(shown, request.get("best_of") or 1))

    def whole(self, completion: Completion, request: Mapping[str, Any], *, usage: bool = True) -> dict[str, Any]:
        choices = []
        for choice in completion.choices:
            said = [*_echoed(choice, request), *choice.tokens]
            choices.append(_choice(choice.index, "".join(said), _logprobs(said, request), choice.finish_reason))
        body = _envelope(completion) | {"choices": choices}
        return {**body, "usage": completion.usage} if usage else body

    def frames(
        self,
        completion: Completion,
        request: Mapping[str, Any],
        *,
        usage: UsagePlace = "none",
        chunk_size: int | None = None,
    ) -> list[bytes]:
        envelope = _envelope(completion)
        tail: dict[str, Any] = {"usage": None} if usage == "own_chunk" else {}
        choices = [*_interleaved(completion, request, chunk_size)]
        chunks = [{**envelope, "choices": [choice], **tail} for choice in choices]
        if usage == "finish_chunk":
            chunks[-1]["usage"] = completion.usage
        elif usage == "own_chunk":
            chunks.append({**envelope, "choices": [], "usage": completion.usage})
        return [*map(frame, chunks), DONE]


def _envelope(completion: Completion) -> dict[str, Any]:
    return {
        "id": completion.id,
        "object": "text_completion",
        "created": completion.created,
        "model": completion.model,
        "system_fingerprint": FINGERPRINT,
    }


def _interleaved(completion: Completion, request: Mapping[str, Any], chunk_size: int | None) -> Iterator[Any]:
    """A piece of each choice in turn, then the ends."""
    streams = []
    for choice in completion.choices:
        groups = grouped([*_echoed(choice, request), *choice.tokens], chunk_size)
        streams.append([_choice(choice.index, "".join(said), _logprobs(said, request), None) for said in groups])
    for row in zip_longest(*streams):
        yield from (piece for piece in row if piece is not None)
    for choice in completion.choices:
        yield _choice(choice.index, "", None, choice.finish_reason)


def _echoed(choice: ModelChoice, request: Mapping[str, Any]) -> list[str]:
    """The prompt, where the request asks for it."""
    if not request.get("echo"):
        return []
    return [prompt_text(prompts_of(request["prompt"])[choice.index // (request.get("n") or 1)])]


def _choice(index: int, text: str, logprobs: object, finish_reason: str | None) -> dict[str, Any]:
    return {"text": text, "index": index, "logprobs": logprobs, "finish_reason": finish_reason}


def _logprobs(tokens: Sequence[str], request: Mapping[str, Any]) -> dict[str, Any] | None:
    if request.get("logprobs") is None:
        return None
    offsets = [sum(map(len, tokens[:place])) for place in range(len(tokens))]
    top = [{f"{token}{rank or ''}": -0.125 - rank for rank in range(request["logprobs"])} for token in tokens]
    return {
        "tokens": list(tokens),
        "token_logprobs": [-0.125] * len(tokens),
        "top_logprobs": top or None,
        "text_offset": offsets,
    }


COMPLETIONS_WIRE: Final = CompletionsWire()
