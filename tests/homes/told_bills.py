"""What providers tell of an answer besides counts, where a home has to look for it among litellm's objects.

A stream of litellm's has lost much of it by its end: the sum that litellm makes has a price of its own for a bill, and
the model that was asked for the one that answered.
"""

import json
from dataclasses import dataclass, field
from typing import Any, Final

from crplugins.testing import Script
from tests.homes.anthropic_stream import COUNTED_AT_THE_START

RELEASE: Final = "m-2031-05-06"
COUNTS: Final = {"prompt_tokens": 30, "completion_tokens": 9, "total_tokens": 39}
PRICES: Final = {
    "input_cost_per_token": 1e-5, "output_cost_per_token": 3e-5,
    "input_cost_per_token_flex": 5e-6, "output_cost_per_token_flex": 15e-6,
}  # fmt: skip
WORDS: Final = ("Hello", " there,", " friend")


@dataclass(frozen=True)
class Told:
    """A stream, and what its record says: litellm's name of the model, the answer, the fields."""

    model: str
    script: Script
    record: dict[str, Any]
    usage: dict[str, int] = field(default_factory=dict)


def _sse(*events: Any) -> list[bytes]:
    return [b"data: " + json.dumps(event).encode() + b"\n\n" for event in events] + [b"data: [DONE]\n\n"]


def _chunk(text: str | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": {} if text is None else {"content": text}, "finish_reason": finish}
    choices = [choice] if text is not None or finish is not None else []
    return {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": RELEASE, "choices": choices, **more}


def _openais(usage: Any = None, **more: Any) -> Script:
    words = [_chunk(word, **more) for word in WORDS]
    counted = [] if usage is None else [_chunk(usage=usage, **more)]
    return Script(events=_sse(*words, _chunk(finish="stop", **more), *counted))


def google(traffic: str) -> dict[str, Any]:
    """A whole answer of Google's, or the last chunk of one."""
    counts = {"promptTokenCount": 30, "candidatesTokenCount": 9, "totalTokenCount": 39, "trafficType": traffic}
    said = {"content": {"parts": [{"text": "Hello"}], "role": "model"}, "index": 0, "finishReason": "STOP"}
    return {"candidates": [said], "usageMetadata": counts, "modelVersion": "gemini-9-001", "responseId": "r-1"}


FLEX: Final = {"service_tier": "flex", "provider_cost_micro_usd": None, "provider_model": RELEASE}
BILLS: Final = {
    "a tier without counts": Told("openai/m-told", _openais(service_tier="flex"), {**FLEX, "usage_source": "estimated"}),
    "a tier beside counts": Told(
        "openai/m-told", _openais(COUNTS, service_tier="flex"), {**FLEX, "cost_micro_usd": 285}, {"input_tokens": 30}
    ),
    "a tier among the counts": Told(
        "openai/m-told", _openais({**COUNTS, "service_tier": "flex"}), {**FLEX, "cost_micro_usd": 285}
    ),
    "no bill": Told("openai/m-told", _openais(), {"provider_cost_micro_usd": None, "usage_source": "estimated"}),
    "a bill": Told("openai/m-told", _openais({**COUNTS, "cost": 0.5}), {"provider_cost_micro_usd": 500_000}),
    "Google's traffic": Told(
        "gemini/m-google",
        Script(events=_sse(google("ON_DEMAND_FLEX"))[:1]),
        {"service_tier": "ON_DEMAND_FLEX", "cost_micro_usd": 285, "provider_model": "gemini-9-001"},
        {"input_tokens": 30, "output_tokens": 9},
    ),
}  # fmt: skip


def without_choices() -> Script:
    """A whole answer that is none."""
    return Script(body={**_chunk(), "object": "chat.completion", "choices": []})


def failed_after_counting() -> Script:
    """A stream of Anthropic's that counts its input, and fails before its first word."""
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m-claude", "content": []}
    start = {"type": "message_start", "message": {**message, "stop_reason": None, "usage": COUNTED_AT_THE_START}}
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    return Script(events=[f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in (start, error)])


def wrong(told: Told, record: dict[str, Any]) -> dict[str, Any]:
    """What is recorded of it in another way: nothing."""
    found = {**record, **record["usage"]}
    return {name: found[name] for name, right in {**told.record, **told.usage}.items() if found[name] != right}
