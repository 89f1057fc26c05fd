"""What answers cost, worked out from what a provider did, by no code of ours.

Each bill begins with what happened at the provider: how many tokens were fresh, cached, written, said and thought. It
is told in one of the ways in which providers tell it, and in one of the forms in which they answer. What it costs
follows from what happened and from the prices that stand in `model_info`, in plain decimal arithmetic.
"""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final, Literal

from crplugins.testing import Script

Json = dict[str, Any]

PRICES: Final[Mapping[str, Mapping[str, float]]] = {
    "flat": {"input_cost_per_token": 1.5e-7, "output_cost_per_token": 6.0e-7, "cache_read_input_token_cost": 7.5e-8},
    "tiers": {
        "input_cost_per_token": 1.25e-6,
        "input_cost_per_token_priority": 2.5e-6,
        "input_cost_per_token_flex": 6.25e-7,
        "output_cost_per_token": 1e-5,
        "output_cost_per_token_priority": 2e-5,
        "output_cost_per_token_flex": 5e-6,
        "cache_read_input_token_cost": 1.25e-7,
        "cache_read_input_token_cost_priority": 2.5e-7,
        "cache_read_input_token_cost_flex": 6.25e-8,
    },
    "caches": {
        "input_cost_per_token": 3e-6,
        "output_cost_per_token": 1.5e-5,
        "output_cost_per_reasoning_token": 2.1e-5,
        "cache_read_input_token_cost": 3e-7,
        "cache_creation_input_token_cost": 3.75e-6,
        "cache_creation_input_token_cost_above_1hr": 6e-6,
    },
    "both": {
        "input_cost_per_token": 1.1e-6,
        "input_cost_per_token_priority": 1.93e-6,
        "output_cost_per_token": 4.4e-6,
        "output_cost_per_token_priority": 7.7e-6,
        "cache_read_input_token_cost": 2.75e-7,
        "cache_creation_input_token_cost": 1.375e-6,
        "cache_creation_input_token_cost_above_1hr": 2.2e-6,
    },
    "long": {
        "input_cost_per_token": 1.25e-6,
        "input_cost_per_token_priority": 2.25e-6,
        "input_cost_per_token_above_200k_tokens": 2.5e-6,
        "input_cost_per_token_above_200k_tokens_priority": 4.5e-6,
        "output_cost_per_token": 1e-5,
        "output_cost_per_token_priority": 1.8e-5,
        "output_cost_per_token_above_200k_tokens": 1.5e-5,
        "output_cost_per_token_above_200k_tokens_priority": 2.7e-5,
        "cache_read_input_token_cost": 1.25e-7,
        "cache_read_input_token_cost_priority": 2.25e-7,
        "cache_read_input_token_cost_above_200k_tokens": 2.5e-7,
        "cache_read_input_token_cost_above_200k_tokens_priority": 4.5e-7,
    },
    "none": {},
}
"""US dollars per token in LiteLLM's notation; `none` is a model whose price nobody knows."""

_LONG_PROMPT: Final = 200_000
# What is charged where a part has no price of its own.
_WHOLE: Final[Mapping[str, str]] = {
    "cache_read_input_token_cost": "input_cost_per_token",
    "cache_creation_input_token_cost": "input_cost_per_token",
    "cache_creation_input_token_cost_above_1hr": "cache_creation_input_token_cost",
    "output_cost_per_reasoning_token": "output_cost_per_token",
}


@dataclass(frozen=True)
class Happened:
    """Tokens of one answer; none of them is counted twice. `tier` is the one that the answer names, whoever asked.

    `told_usd` is the cost in US dollars that the provider tells itself, as it spells it.
    """

    fresh: int
    said: int
    cached: int = 0
    written: int = 0
    written_for_an_hour: int = 0
    thought: int = 0
    tier: str | None = "default"
    told_usd: str | None = None

    @property
    def input(self) -> int:
        return self.fresh + self.cached + self.written + self.written_for_an_hour

    @property
    def output(self) -> int:
        return self.said + self.thought

    @property
    def columns(self) -> tuple[int, ...]:
        """The numbers of a record, in the order of `metering_books.TOKENS`."""
        return self.input, self.output, self.cached, self.written + self.written_for_an_hour, self.thought

    @property
    def told_micro_usd(self) -> int | None:
        return None if self.told_usd is None else _whole(Decimal(self.told_usd) * 1_000_000)

    def cost_micro_usd(self, prices: Mapping[str, float]) -> int | None:
        """What it costs; the provider's own bill where there is no price, None where there is neither."""
        if not prices:
            return self.told_micro_usd
        amounts = {
            "input_cost_per_token": self.fresh,
            "cache_read_input_token_cost": self.cached,
            "cache_creation_input_token_cost": self.written,
            "cache_creation_input_token_cost_above_1hr": self.written_for_an_hour,
            "output_cost_per_token": self.said,
            "output_cost_per_reasoning_token": self.thought,
        }
        usd = sum((tokens * self._rate(prices, key) for key, tokens in amounts.items()), Decimal(0))
        return _whole(usd * 1_000_000)

    def _rate(self, prices: Mapping[str, float], key: str) -> Decimal:
        long = ("_above_200k_tokens", "") if self.input > _LONG_PROMPT else ("",)
        tier = (f"_{self.tier}", "") if self.tier else ("",)
        for name in (f"{key}{above}{suffix}" for above in long for suffix in tier):
            if name in prices:
                return Decimal(str(prices[name]))
        return self._rate(prices, _WHOLE[key])


def _whole(micro_usd: Decimal) -> int:
    return int(micro_usd.quantize(Decimal(1), ROUND_HALF_UP))


def _openai(it: Happened) -> Json:
    """Everything is in the totals; details say what was cached, written and thought."""
    return {
        "prompt_tokens": it.input,
        "completion_tokens": it.output,
        "total_tokens": it.input + it.output,
        "prompt_tokens_details": {
            "cached_tokens": it.cached,
            "cache_write_tokens": it.written + it.written_for_an_hour,
        },
        "completion_tokens_details": {"reasoning_tokens": it.thought},
        "cache_creation": {
            "ephemeral_5m_input_tokens": it.written,
            "ephemeral_1h_input_tokens": it.written_for_an_hour,
        },
    }


def _anthropic(it: Happened) -> Json:
    """Cached and written tokens beside the input, under Anthropic's names."""
    return {
        "input_tokens": it.fresh,
        "output_tokens": it.output,
        "cache_read_input_tokens": it.cached,
        "cache_creation_input_tokens": it.written + it.written_for_an_hour,
        "cache_creation": {
            "ephemeral_5m_input_tokens": it.written,
            "ephemeral_1h_input_tokens": it.written_for_an_hour,
        },
    }


def _cached_beyond(it: Happened) -> Json:
    """A prompt that leaves the cached tokens out, under OpenAI's names."""
    return {
        "prompt_tokens": it.fresh,
        "completion_tokens": it.output,
        "total_tokens": it.fresh + it.output,
        "prompt_tokens_details": {"cached_tokens": it.cached},
    }


def _thought_beside(it: Happened) -> Json:
    """xAI's and Gemini's: reasoning in the total, and outside `completion_tokens`."""
    return {
        "prompt_tokens": it.input,
        "completion_tokens": it.said,
        "total_tokens": it.input + it.output,
        "prompt_tokens_details": {"cached_tokens": it.cached},
        "completion_tokens_details": {"reasoning_tokens": it.thought},
    }


def _thought_beyond(it: Happened) -> Json:
    """More reasoning than completion, and no total."""
    usage = _thought_beside(it)
    del usage["total_tokens"]
    return usage


def _deepseek(it: Happened) -> Json:
    return {
        "prompt_tokens": it.input,
        "completion_tokens": it.output,
        "total_tokens": it.input + it.output,
        "prompt_cache_hit_tokens": it.cached,
        "prompt_cache_miss_tokens": it.fresh,
        "completion_tokens_details": {"reasoning_tokens": it.thought},
    }


def _kimi(it: Happened) -> Json:
    total = it.input + it.output
    return {
        "prompt_tokens": it.input,
        "completion_tokens": it.output,
        "total_tokens": total,
        "cached_tokens": it.cached,
    }


def _half(it: Happened) -> Json:
    """The completion is what the total leaves for it."""
    return {
        "prompt_tokens": it.input,
        "completion_tokens": None,
        "total_tokens": it.input + it.output,
        "prompt_tokens_details": {"cached_tokens": it.cached},
    }


def _floats(it: Happened) -> Json:
    total = it.input + it.output
    return {
        "prompt_tokens": float(it.input),
        "completion_tokens": float(it.output),
        "total_tokens": float(total),
        "prompt_tokens_details": {"cached_tokens": float(it.cached)},
    }


@dataclass(frozen=True)
class Telling:
    """How a provider tells usage, where in the answer, and which kinds of tokens it tells apart.

    `more_than`: kinds of which there are more than of another, because that is what makes this telling odd.
    """

    usage: Callable[[Happened], Json]
    kinds: Sequence[str]
    more_than: Mapping[str, str] = field(default_factory=dict)
    place: Literal["usage", "choice", "x_groq"] = "usage"


TELLINGS: Final[Mapping[str, Telling]] = {
    "openai": Telling(_openai, ("cached", "written", "written_for_an_hour", "thought")),
    "anthropic": Telling(_anthropic, ("cached", "written", "written_for_an_hour")),
    "cached-beyond": Telling(_cached_beyond, (), {"cached": "fresh"}),
    "thought-beside": Telling(_thought_beside, ("cached", "thought")),
    "thought-beyond": Telling(_thought_beyond, ("cached",), {"thought": "said"}),
    "deepseek": Telling(_deepseek, ("cached", "thought")),
    "kimi": Telling(_kimi, ("cached",), place="choice"),
    "groq": Telling(_kimi, (), place="x_groq"),
    "half": Telling(_half, ("cached",)),
    "floats": Telling(_floats, ("cached",)),
}
FORMS: Final = ("events", "document", "events-as-text", "events-as-json", "document-as-bytes")
"""In which an answer comes, whichever was asked for."""
TIERS: Final = ("default", "priority", "flex", None)
TEXT: Final = ("Well", ", that", " is", " what", " was", " asked", ".")


@dataclass(frozen=True)
class Bill:
    """An answer and what it costs."""

    happened: Happened
    prices: str
    telling: str
    form: str
    script: Script

    def told(self, frames_sent: int) -> bool:
        """Whether the usage is among what the provider has sent."""
        if self.script.events is None:
            return frames_sent > 0
        return any(b"_tokens" in frame for frame in self.script.events[:frames_sent])


def _made(number: int, dice: random.Random) -> tuple[str, Bill]:
    rounds, which = divmod(number, len(TELLINGS))
    telling_name, form = list(TELLINGS)[which], FORMS[(rounds + which) % len(FORMS)]
    telling, prices = TELLINGS[telling_name], list(PRICES)[(rounds + 2 * which) % len(PRICES)]
    fresh = dice.randint(230_000, 300_000) if prices == "long" and which % 2 else dice.randint(300, 9000)
    happened = Happened(fresh, dice.randint(8, 900), tier=dice.choice(TIERS))
    for kind in telling.kinds:
        happened = replace(happened, **{kind: dice.randint(1, 4000)})
    for kind, less in telling.more_than.items():
        happened = replace(happened, **{kind: getattr(happened, less) + dice.randint(1, 4000)})
    if telling.place == "usage" and dice.random() < 0.4:
        happened = replace(happened, told_usd=f"0.{dice.randint(1, 99_999):07}1")
    script = _script(happened, telling, form)
    return f"bill-{number:02}-{telling_name}-{form}", Bill(happened, prices, telling_name, form, script)


def _script(happened: Happened, telling: Telling, form: str) -> Script:
    usage = telling.usage(happened)
    if happened.told_usd is not None:
        usage["cost"] = float(happened.told_usd)
    head: Json = {"id": "chatcmpl-bill", "created": 1_780_000_000, "model": "billed-2026-05-01"}
    if happened.tier is not None:
        (usage if telling.usage is _anthropic else head)["service_tier"] = happened.tier
    place: Json = {"usage": usage} if telling.place == "usage" else {"x_groq": {"id": "req_1", "usage": usage}}
    in_choice: Json = {}
    if telling.place == "choice":
        place, in_choice = {}, {"usage": usage}
    if form.startswith("document"):
        message = {"role": "assistant", "content": "".join(TEXT)}
        choice = {"index": 0, "message": message, "finish_reason": "stop", **in_choice}
        content_type = "application/octet-stream" if form == "document-as-bytes" else None
        body = json.dumps({**head, "object": "chat.completion", "choices": [choice], **place}).encode()
        return Script(body=body, content_type=content_type)
    chunk = {**head, "object": "chat.completion.chunk"}
    deltas = [{"role": "assistant", "content": ""}, *({"content": text} for text in TEXT)]
    chunks: list[Json] = [
        {**chunk, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas
    ]
    end: Json = {"index": 0, "delta": {}, "finish_reason": "stop", **in_choice}
    if telling.place == "usage":
        chunks += [{**chunk, "choices": [end]}, {**chunk, "choices": [], **place}]
    else:
        chunks.append({**chunk, "choices": [end], **place})
    events = [b"data: " + json.dumps(one).encode() + b"\n\n" for one in chunks]
    content_type = {"events-as-text": "text/plain", "events-as-json": "application/json"}.get(form)
    return Script(events=[*events, b"data: [DONE]\n\n"], content_type=content_type, frame_delay=0.002)


def _all(count: int) -> dict[str, Bill]:
    dice = random.Random(20260601)
    return dict(_made(number, dice) for number in range(count))


BILLS: Final[Mapping[str, Bill]] = _all(60)
