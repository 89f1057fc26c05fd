"""Estimates of token counts: before an answer, for what to reserve, and after one that no provider has counted.

`demand_of` estimates a request before it is sent, `completed_usage` afterwards what its provider has not counted. What
an answer says is counted by `core.said`, a prompt by `metering.prompt`, and what was generated and never shown by
`metering.silence`. An Estimator counts text better.
"""

import math
from types import TracebackType
from typing import Final, Literal, Protocol, Self

import msgspec

from crplugins.core.body import Body
from crplugins.core.exchange import Exchange, Slot
from crplugins.core.principal import MissingUsagePolicy
from crplugins.core.said import Said
from crplugins.core.sse import Event
from crplugins.core.usage import TokenUsage
from crplugins.metering.drawings import drawn_tokens
from crplugins.metering.prompt import prompt_of
from crplugins.metering.silence import HiddenOutput

ESTIMATED_OUTPUT_TOKENS: Final = 1024
"""The assumed length of an answer that the client has not limited."""

SPOKEN_TOKENS_PER_SECOND: Final = 1250 / 60
"""Of speech that is made: OpenAI puts a minute of gpt-4o-mini-tts at 1.5 cents, and a million tokens at 12 dollars."""

NOTHING_USED: Final = TokenUsage()
_MOST_CHOICES: Final = 10**7
"""More than a body has room for: 50,000 prompts of completions, with the most that OpenAI generates for each."""
_MOST_TOKENS: Final = 10**12
"""More than any limit, and few enough for a store to count."""

Unit = Literal["requests", "tokens", "output_tokens", "parallel"]


class Demand(msgspec.Struct, frozen=True):
    """The tokens that a request may use.

    Attributes:
        output: tokens of all its choices together.
        limited_by_client: whether the client has limited the output itself.
        choices: how many answers it asks for.
    """

    prompt: int
    output: int
    limited_by_client: bool
    choices: int = 1

    def of(self, unit: Unit, amount: int) -> int:
        """How much to reserve of a limit of `amount`.

        A request that exceeds the limit only by our own estimate reserves all of it, instead of being refused for ever.
        """
        least = self.prompt if unit == "tokens" else 0
        whole = least + self.output
        return whole if self.limited_by_client or whole <= amount else max(least, amount)


NO_DEMAND: Final = Demand(0, 0, limited_by_client=True)
"""For requests whose tokens are not counted."""

DEMAND: Final[Slot[Demand]] = Slot("metering.demand")
"""What was last reserved for a request, for its record. Nothing where no limit counts tokens."""


def demand_of(exchange: Exchange, estimated_output_tokens: int) -> Demand:
    """The tokens of the messages and tools, and as many as the answer, or the pictures that are to be drawn, may have.

    Raises `GatewayError` 400 for a body that is not JSON.
    """
    body = exchange.body
    if body is None:
        return NO_DEMAND
    limit, choices = _output_limit(exchange, body)
    if exchange.dialect.draws and (drawn := drawn_tokens(_model(exchange), body)):
        limit, estimated_output_tokens = None, drawn
    output = estimated_output_tokens * choices if limit is None else limit
    demand = Demand(prompt_tokens(exchange), min(output, _MOST_TOKENS), limit is not None, choices)
    exchange.slots[DEMAND] = demand
    return demand


def _output_limit(exchange: Exchange, body: Body) -> tuple[int | None, int]:
    """The client's own limit of the output of all choices together, None if it sets none; and how many choices.

    0 of a protocol that generates nothing.
    """
    dialect = exchange.dialect
    if not dialect.generates:
        return 0, 1
    choices = min(max(dialect.generated(body), 1), _MOST_CHOICES)
    limit, fields = 0, body.fields
    for name in dialect.output_limits:
        if name in fields:
            limit = max(body.get(name, int) or 0, limit)  # the app refuses what is no whole number above 0
    return (limit * choices if limit > 0 else None), choices


def prompt_tokens(exchange: Exchange) -> int:
    """Estimated tokens of the messages and tools of a request; 0 if its body was not read."""
    prompt = prompt_of(exchange)
    if prompt is None:
        return 0
    return prompt.tokens(_model(exchange) if prompt.attachments else "")


def attached_tokens(exchange: Exchange, kind: Literal["image", "audio"]) -> int:
    """Those of `prompt_tokens` that are pictures, or recorded speech."""
    prompt = prompt_of(exchange)
    return 0 if prompt is None or not prompt.attachments else prompt.tokens_of(kind, _model(exchange))


def asks_for_speech(exchange: Exchange) -> bool:
    """Whether the answer of a chat completion is to be spoken."""
    body = exchange.body
    return body is not None and "modalities" in body and "audio" in (body.get("modalities", list) or ())


def _model(exchange: Exchange) -> str:
    named = exchange.body.get("model", str) if exchange.body is not None else None
    return exchange.served_model or named or ""


def usage_of_answer(exchange: Exchange, missing_usage: MissingUsagePolicy) -> TokenUsage:
    """What limits and budgets count of the last attempt, beside what earlier ones have spent: the provider's numbers;
    an estimate where it worked and reported none.

    Where missing usage is free, only what a provider has reported counts. Nothing where an answer came from a cache,
    where no provider was called, or where it failed before it had sent any output. In front of a foreign app no other
    part may have estimated.
    """
    source = exchange.answer_source
    if source == "cache":
        return NOTHING_USED
    usage = completed_usage(exchange) if source != "estimated" else None
    if (usage or source == "estimated") and missing_usage_policy(exchange, missing_usage) == "free":
        return exchange.reported or NOTHING_USED
    return usage or exchange.answer_usage or NOTHING_USED


_UNTAUGHT: Final = HiddenOutput()
"""For homes and limits without MissingUsage, which learns how fast each model is."""


def completed_usage(exchange: Exchange, hidden: HiddenOutput = _UNTAUGHT) -> TokenUsage | None:
    """The usage of an answer that is over, with estimates of what its provider has not counted: all of it, the prompt,
    or what it has generated and not shown. None if nothing is missing."""
    usage, body = exchange.answer_usage, exchange.body
    if exchange.from_cache or (usage is not None and usage.input_tokens and exchange.outcome != "cancelled"):
        return None
    if usage is None:
        if not lacks_usage(exchange):
            return None
        spoken = 0 if exchange.made is None else math.ceil(exchange.made.spoken * SPOKEN_TOKENS_PER_SECOND)
        known = TokenUsage(
            output_tokens=exchange.said.tokens(exchange.said_before) + spoken,
            audio_output_tokens=spoken,
            web_searches=exchange.said.searches,
        )
    else:
        known = usage
    limit = _output_limit(exchange, body)[0] if body is not None and exchange.outcome == "cancelled" else None
    unseen = hidden.tokens(exchange, limit)
    prompt = prompt_of(exchange) if not known.input_tokens else None
    if usage is not None and not unseen and prompt is None:
        return None
    model, speech, pictures = _model(exchange), known.audio_input_tokens, known.image_input_tokens
    continued = Said(*exchange.said_before).tokens()  # sent along with the prompt
    return msgspec.structs.replace(
        known,
        input_tokens=known.input_tokens if prompt is None else prompt.tokens(model) + continued,
        output_tokens=known.output_tokens + unseen,
        audio_input_tokens=speech if prompt is None else speech or prompt.tokens_of("audio", model),
        image_input_tokens=pictures if prompt is None else pictures or prompt.tokens_of("image", model),
    )


def settle_missing(exchange: Exchange, policy: MissingUsagePolicy, hidden: HiddenOutput = _UNTAUGHT) -> None:
    """Estimate what the provider has not counted of a request that is over. Where that is free, what it did report of
    the answer is not, and an estimate of the rest is taken back. `policy` is for keys without their own."""
    usage, is_estimated = completed_usage(exchange, hidden), exchange.answer_source == "estimated"
    if usage is None and not is_estimated:
        return
    if missing_usage_policy(exchange, policy) != "free":
        if usage is not None:
            exchange.counted(usage, "estimated")
    elif is_estimated:
        exchange.counted(exchange.reported, "none" if exchange.reported is None else "provider")


def came_through(exchange: Exchange) -> bool:
    """Whether the request reached the app, or a plugin that answered instead: no plugin further in refused it."""
    return exchange.timings.app is not None or exchange.reply is not None


def lacks_usage(exchange: Exchange) -> bool:
    """Whether a provider did work on the answer and has not reported its usage. For one that is over, or nearly."""
    if exchange.answer_usage is not None or exchange.timings.app is None:
        return False
    if exchange.answer_says:
        return True
    if not exchange.dialect.uses_tokens:
        return False
    if exchange.outcome == "cancelled":  # only the last attempt matters: it had not failed when the client left
        if not exchange.attempts:  # it may have waited for a place, or until litellm was imported
            return not exchange.notes_attempts
        return not exchange.attempts[-1].error_type
    return exchange.status == 200 and exchange.error is None


def missing_usage_policy(exchange: Exchange, default: MissingUsagePolicy) -> MissingUsagePolicy:
    """The key's own, else `default`."""
    own = exchange.principal.missing_usage if exchange.principal is not None else None
    return own or default


class Estimator(Protocol):
    """Counts text better than by its characters. Opened and closed with the plugin that uses it."""

    def observe(self, exchange: Exchange, event: Event) -> None:
        """Keeps the content of a chunk or document, if counting needs it."""

    async def count(self, exchange: Exchange) -> TokenUsage | None:
        """The tokens of a request that is over; None if they cannot be counted."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...
