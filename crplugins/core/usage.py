"""Usage: how many tokens an answer took, and what a token costs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import msgspec

from crplugins.core.off_peak import OffPeak
from crplugins.core.units import NO_UNITS, Units

if TYPE_CHECKING:
    from decimal import Decimal

UsageSource = Literal["provider", "estimated", "cache", "none"]
"""Whose numbers they are. Estimated ones always say so. Those of an answer from a `cache` cost nothing and fill no
limit of tokens, because no provider has worked for it."""

CostSource = Literal["provider", "table", "config"]
"""Whose price a cost comes from: the provider's own bill, litellm's table, or a price in the configuration."""

PICO = 1_000_000_000_000
MICRO = 1_000_000


class TokenUsage(msgspec.Struct, frozen=True):
    """Token counts of one request, and what else of an answer is charged by number.

    Cached, written, audio and image input stand in `input_tokens` too, reasoning, audio, image and video output in
    `output_tokens`: they are parts, never to be added. Providers round them differently, so a part may exceed its
    whole.

    Attributes:
        long_cache_write_input_tokens: those of `cache_write_input_tokens` that are kept for longer than usual: an hour
            at Anthropic, twelve at OpenAI.
        cached_audio_input_tokens: those of `cached_input_tokens` that are audio; in `audio_input_tokens` too.
        web_searches: how often the provider searched the web for the answer.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_input_tokens: int = 0
    reasoning_output_tokens: int = 0
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    long_cache_write_input_tokens: int = 0
    cached_audio_input_tokens: int = 0
    image_input_tokens: int = 0
    image_output_tokens: int = 0
    video_output_tokens: int = 0
    web_searches: int = 0

    def __add__(self, other: "TokenUsage") -> "TokenUsage":
        mine, others = msgspec.structs.astuple(self), msgspec.structs.astuple(other)
        return TokenUsage(*[a + b for a, b in zip(mine, others, strict=True)])

    def without(self, part: "TokenUsage") -> "TokenUsage":
        """What is left, of each number none at least."""
        mine, others = msgspec.structs.astuple(self), msgspec.structs.astuple(part)
        return TokenUsage(*[max(a - b, 0) for a, b in zip(mine, others, strict=True)])

    def with_input_of(self, other: "TokenUsage") -> "TokenUsage":
        """The same output after the other input."""
        return msgspec.structs.replace(
            other,
            output_tokens=self.output_tokens,
            reasoning_output_tokens=self.reasoning_output_tokens,
            audio_output_tokens=self.audio_output_tokens,
            image_output_tokens=self.image_output_tokens,
            video_output_tokens=self.video_output_tokens,
            web_searches=self.web_searches,
        )


MAX_TOKENS = 2**40
"""More than any provider bills for one request. A larger number is nonsense, and so is a negative one."""

MAX_SEARCHES = 10_000
"""The same for searches of the web, each of which costs as much as thousands of tokens."""


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
    long_cache_write: int | None = None,
    cached_audio: int | None = None,
    image_input: int | None = None,
    image_output: int | None = None,
    video_output: int | None = None,
    web_searches: int | None = None,
) -> TokenUsage | None:
    """What a provider's numbers mean, whatever the provider: records, limits and metrics all get these integers.

    - A number below 0 or beyond `MAX_TOKENS` counts as missing, and a missing half is what the total leaves for it. So
      does a total of 0: LiteLLM writes 0 for what a provider has left out.
    - More cached and written input than prompt: the prompt leaves them out (Anthropic's way, under OpenAI's names).
    - A total above prompt and completion: the rest is output (xAI's and Gemini's reasoning stands beside `completion`).
    - More reasoning than completion, and no total that denies it: likewise.

    Returns None if nothing is counted, which no provider bills.
    """
    parts = (
        cached, cache_write, reasoning, audio_input, audio_output, long_cache_write, cached_audio, image_input,
        image_output, video_output,
    )  # fmt: skip
    if _agree(prompt, completion, total) and not (any(parts) or web_searches):  # nearly always
        return TokenUsage(prompt or 0, completion or 0)
    prompt, completion, total = _plausible(prompt), _plausible(completion), _plausible(total) or None
    if not prompt and not completion:
        return None
    counts = [n if n and 0 < n <= MAX_TOKENS else 0 for n in parts]
    cached, cache_write, reasoning = counts[:3]
    if total is not None:
        if not prompt and completion is not None:  # no request has an empty prompt
            prompt = max(total - completion, 0)
        elif completion is None and prompt is not None:
            completion = max(total - prompt, 0)
    prompt, completion = prompt or 0, completion or 0
    if cached + cache_write > prompt:
        prompt += cached + cache_write
    if total is not None and total > prompt + completion:
        completion = total - prompt
    elif total is None and reasoning > completion:
        completion += reasoning
    counts.append(web_searches if web_searches and 0 < web_searches <= MAX_SEARCHES else 0)
    return TokenUsage(prompt, completion, *counts)


def _agree(prompt: int | None, completion: int | None, total: int | None) -> bool:
    """Whether the three are there, plausible, and the last is the sum of the others."""
    if not (prompt and completion) or total != prompt + completion:
        return False
    return 0 < prompt < total <= MAX_TOKENS


def _plausible(count: int | None) -> int | None:
    return count if count is not None and 0 <= count <= MAX_TOKENS else None


OFF_PEAK = "off_peak"


class Price(msgspec.Struct, frozen=True):
    """What tokens cost, in millionths of a millionth of a US dollar each, so that sums are exact.

    A part without a price of its own (None) costs what its whole costs: all parts of the input what input costs, all of
    the output what output costs, but a cached or written token of a special kind what others of them cost.

    Attributes:
        web_search: what one search of the web costs.
        searches_together: however many searches one answer takes, they cost what one does.
        request: what a request costs besides.
        second: what each second costs that the provider takes for its answer.
        picture, character, recorded_second: what a picture costs that is made, a character that is spoken, a second of
            a recording that is understood.
        above: what all tokens of a longer prompt cost instead: (input tokens, price) for more than so many, the
            highest first.
        alternatives: what everything costs instead in an answer that names this: its processing tier, such as `flex`,
            or the size of its search context.
        factors: by how many thousandths all tokens cost more or less in an answer that names this, such as the region
            where the model ran.
        off_peak: when the alternative `OFF_PEAK` is what everything costs.
        source: whose price it is.
    """

    input: int
    output: int
    cached_input: int | None = None
    cache_write_input: int | None = None
    reasoning_output: int | None = None
    audio_input: int | None = None
    audio_output: int | None = None
    long_cache_write_input: int | None = None
    cached_audio_input: int | None = None
    image_input: int | None = None
    image_output: int | None = None
    video_output: int | None = None
    web_search: int = 0
    searches_together: bool = False
    request: int = 0
    second: int = 0
    picture: int = 0
    character: int = 0
    recorded_second: int = 0
    above: tuple[tuple[int, "Price"], ...] = ()
    alternatives: tuple[tuple[str, "Price"], ...] = ()
    factors: tuple[tuple[str, int], ...] = ()
    off_peak: OffPeak | None = None
    source: Literal["table", "config"] = "config"

    def micro_usd(
        self, usage: TokenUsage, named: Sequence[str] = (), seconds: float = 0.0, units: Units = NO_UNITS
    ) -> int:
        """The cost in millionths of a US dollar, rounded half up.

        Args:
            named: the tier and whatever else the answer names, see `alternatives` and `factors`.
            seconds: how long the provider took.
            units: what else than tokens is charged.
        """
        price, scale = self, 1
        for name in named:
            price = price.alternative(name) or price
        tokens = price
        if price.above:
            tokens = next((longer for above, longer in price.above if usage.input_tokens > above), price)
        total = tokens._tokens_pico_usd(usage)
        for name, factor in self.factors:
            if name in named:
                total, scale = total * factor, scale * 1000
        searches = min(usage.web_searches, 1) if price.searches_together else usage.web_searches
        fees = searches * price.web_search
        if (price.request or price.second) and (usage.input_tokens or usage.output_tokens):
            fees += price.request * max(units.queries, 1) + round(price.second * seconds)
        if units is not NO_UNITS:
            fees += units.pictures * price.picture + units.characters * price.character
            fees += round(units.recorded * price.recorded_second)
        total += fees * scale
        unit = PICO // MICRO * scale
        return (total + unit // 2) // unit

    def alternative(self, name: str) -> "Price | None":
        """What everything costs in an answer that names this; None if that changes nothing."""
        for named, price in self.alternatives:
            if named == name:
                return price
        return None

    def _tokens_pico_usd(self, usage: TokenUsage) -> int:
        """Parts are taken from their whole one after the other, so that none is charged twice where they overlap."""
        if not (
            usage.cached_input_tokens or usage.cache_write_input_tokens or usage.reasoning_output_tokens
            or usage.audio_input_tokens or usage.audio_output_tokens or usage.image_input_tokens
            or usage.image_output_tokens or usage.video_output_tokens or usage.cached_audio_input_tokens
            or usage.long_cache_write_input_tokens
        ):  # fmt: skip
            return usage.input_tokens * self.input + usage.output_tokens * self.output
        cached, written = self.cached_input, self.cache_write_input
        cached_audio, long_written = usage.cached_audio_input_tokens, usage.long_cache_write_input_tokens
        audio_price = self.audio_input if cached is None else cached  # without a price of the cached, it is as any
        total, rest = 0, usage.input_tokens
        for tokens, price in (
            (cached_audio, audio_price if self.cached_audio_input is None else self.cached_audio_input),
            (usage.cached_input_tokens - cached_audio, cached),
            (long_written, written if self.long_cache_write_input is None else self.long_cache_write_input),
            (usage.cache_write_input_tokens - long_written, written),
            (usage.audio_input_tokens - cached_audio, self.audio_input),
            (usage.image_input_tokens, self.image_input),
        ):
            if tokens > 0:
                tokens = min(tokens, rest)
                total, rest = total + tokens * (self.input if price is None else price), rest - tokens
        total, rest = total + rest * self.input, usage.output_tokens
        for tokens, price in (
            (usage.audio_output_tokens, self.audio_output),
            (usage.image_output_tokens, self.image_output),
            (usage.video_output_tokens, self.video_output),
            (usage.reasoning_output_tokens, self.reasoning_output),
        ):
            if tokens > 0:
                tokens = min(tokens, rest)
                total, rest = total + tokens * (self.output if price is None else price), rest - tokens
        return total + rest * self.output


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


def pico_usd(usd: "float | str | Decimal") -> int:
    """A price in US dollars as `Price` takes it."""
    from decimal import Decimal  # not needed where nothing is priced

    exact = usd if isinstance(usd, Decimal) else Decimal(str(usd))
    return int((exact * PICO).to_integral_value())
