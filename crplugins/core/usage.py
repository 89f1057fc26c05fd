"""Usage: how many tokens an answer took, and what a token costs."""

from typing import Literal

import msgspec

UsageSource = Literal["provider", "estimated", "none"]
"""Whose numbers they are. Estimated ones always say so."""

CostSource = Literal["provider", "table", "config"]
"""Whose price a cost comes from: the provider's own bill, litellm's table, or a price in the configuration."""

PICO = 1_000_000_000_000
MICRO = 1_000_000

BYTES_PER_TOKEN = 4
"""The rule of thumb, where nobody has counted."""


class TokenUsage(msgspec.Struct, frozen=True):
    """Token counts of one request.

    Cached, written and audio input stand in `input_tokens` too, reasoning and audio output in `output_tokens`: they are
    parts, never to be added. Providers round them differently, so a part may exceed its whole.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_input_tokens: int = 0
    reasoning_output_tokens: int = 0
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0


MAX_TOKENS = 2**40
"""More than any provider bills for one request. A larger number is nonsense, and so is a negative one."""


def sane_usage(
    prompt: int | None,
    completion: int | None,
    total: int | None,
    *,
    cached: int | None = None,
    cache_write: int | None = None,
    reasoning: int | None = None,
    audio_input: int | None = None,
    audio_output: int | None = None,
) -> TokenUsage | None:
    """What a provider's numbers mean, whatever the provider: records, limits and metrics all get these integers.

    - A number below 0 or beyond `MAX_TOKENS` counts as missing, and a missing half is what the total leaves for it.
    - More cached and written input than prompt: the prompt leaves them out (Anthropic's way, under OpenAI's names).
    - A total above prompt and completion: the rest is output (xAI's and Gemini's reasoning stands beside `completion`).
    - More reasoning than completion, and no total that denies it: likewise.

    Returns None if nothing is counted, which no provider bills.
    """
    prompt, completion, total = _plausible(prompt), _plausible(completion), _plausible(total)
    parts = (cached, cache_write, reasoning, audio_input, audio_output)
    cached, cache_write, reasoning, audio_input, audio_output = [n if n and 0 < n <= MAX_TOKENS else 0 for n in parts]
    if total is not None:
        if not prompt and completion is not None:  # no request has an empty prompt
            prompt = max(total - completion, 0)
        elif completion is None and prompt is not None:
            completion = max(total - prompt, 0)
    if not prompt and not completion:
        return None
    prompt, completion = prompt or 0, completion or 0
    if cached + cache_write > prompt:
        prompt += cached + cache_write
    if total is not None and total > prompt + completion:
        completion = total - prompt
    elif total is None and reasoning > completion:
        completion += reasoning
    return TokenUsage(prompt, completion, cached, cache_write, reasoning, audio_input, audio_output)


def _plausible(count: int | None) -> int | None:
    return count if count is not None and 0 <= count <= MAX_TOKENS else None


class Price(msgspec.Struct, frozen=True):
    """What tokens cost, in millionths of a millionth of a US dollar each, so that sums are exact.

    A part without a price of its own (None) costs what its whole costs.

    Attributes:
        above: what all tokens of a longer prompt cost instead: (input tokens, price) for more than so many, the
            highest first.
        source: whose price it is.
    """

    input: int
    output: int
    cached_input: int | None = None
    cache_write_input: int | None = None
    reasoning_output: int | None = None
    audio_input: int | None = None
    audio_output: int | None = None
    above: tuple[tuple[int, "Price"], ...] = ()
    source: Literal["table", "config"] = "config"

    def micro_usd(self, usage: TokenUsage) -> int:
        """The cost in millionths of a US dollar, rounded half up."""
        for threshold, longer in self.above:
            if usage.input_tokens > threshold:
                return longer.micro_usd(usage)
        total = usage.input_tokens * self.input + usage.output_tokens * self.output
        for tokens, price, whole in (
            (usage.cached_input_tokens, self.cached_input, self.input),
            (usage.cache_write_input_tokens, self.cache_write_input, self.input),
            (usage.audio_input_tokens, self.audio_input, self.input),
            (usage.reasoning_output_tokens, self.reasoning_output, self.output),
            (usage.audio_output_tokens, self.audio_output, self.output),
        ):
            if tokens and price is not None:
                total += tokens * (price - whole)
        return max(total + 500_000, 0) // 1_000_000


def usd(micro_usd: int) -> float:
    """Millionths of a US dollar in US dollars, for people and metrics. Sums are kept in whole millionths."""
    return micro_usd / MICRO


def micro_usd_of(usd: object) -> int:
    """US dollars, as a number or its text, in whole millionths. Read by its spelling, so that 0.1 is exact."""
    from decimal import Decimal

    return int((Decimal(str(usd)) * MICRO).to_integral_value())


MAX_COST_USD = 1_000_000
"""More than any request costs. What a provider tells beyond it is nonsense, and so is a negative cost."""


def sane_cost(usd: object) -> int | None:
    """What a provider says an answer cost, in whole millionths; None if that is no sensible amount of US dollars."""
    if isinstance(usd, bool) or not isinstance(usd, int | float | str):
        return None
    try:
        micro_usd = micro_usd_of(usd)
    except (ValueError, ArithmeticError):
        return None
    return micro_usd if 0 <= micro_usd <= MAX_COST_USD * MICRO else None


def pico_usd(usd: float | str) -> int:
    """A price in US dollars as `Price` takes it."""
    from decimal import Decimal  # not needed where nothing is priced

    return int((Decimal(str(usd)) * PICO).to_integral_value())
