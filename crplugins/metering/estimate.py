"""Estimates of token counts, for answers whose provider gave none."""

import re
from types import TracebackType
from typing import Final, Literal, NamedTuple, Protocol, Self

import msgspec

from crplugins.core.body import Body
from crplugins.core.exchange import Exchange
from crplugins.core.principal import MissingUsagePolicy
from crplugins.core.sse import Event
from crplugins.core.usage import BYTES_PER_TOKEN, TokenUsage

TOKENS_PER_MESSAGE: Final = 4
TOKENS_PER_ATTACHMENT: Final = 1000
"""For a picture, a recording or a file: its bytes in base64 say nothing about its tokens."""


_ATTACHMENT: Final = re.compile(rb'"(?:image_url|input_audio|file)"')


class Estimator(Protocol):
    """Counts with more than a rule of thumb. Opened and closed with the plugin that uses it."""

    def hear(self, exchange: Exchange, event: Event) -> None:
        """Keep what a chunk or document says, if counting needs it."""

    async def count(self, exchange: Exchange) -> TokenUsage | None:
        """The tokens of a request that is over; None if it cannot be done."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class ByteEstimator:
    """A token for every four bytes: 0.75 (Chinese) to 1.14 (English) of the true count of text, in a microsecond."""

    def count(self, exchange: Exchange) -> TokenUsage:
        return TokenUsage(input_tokens=prompt_tokens(exchange), output_tokens=tokens_in(exchange.output_bytes))


def missing_usage_policy(exchange: Exchange, default: MissingUsagePolicy) -> MissingUsagePolicy:
    """The key's own, else `default`."""
    own = exchange.principal.missing_usage if exchange.principal is not None else None
    return own or default


def owes_usage(exchange: Exchange) -> bool:
    """Whether a provider did work and has not told the extent of it. For a request that is over, or nearly."""
    if exchange.usage is not None or exchange.timings.app is None:
        return False
    if exchange.output_bytes:
        return True
    if exchange.outcome == "cancelled":  # who was asked last had not refused, whatever the calls before came to
        return not (exchange.attempts and exchange.attempts[-1].error_type)
    return exchange.status == 200 and exchange.error is None


def tokens_in(size: int) -> int:
    return -(-size // BYTES_PER_TOKEN)


def prompt_tokens(exchange: Exchange) -> int:
    """Estimated tokens of the messages and tools of a request; 0 if its body was not read."""
    body = exchange.body
    if body is None:
        return 0
    messages, tools = body.fields.get("messages"), body.fields.get("tools")
    if messages is None:
        return 0
    size = len(messages) + (len(tools) if tools is not None else 0)
    attachments, bulk = _attachments(messages) if _ATTACHMENT.search(messages) else (0, 0)
    return tokens_in(size - bulk) + TOKENS_PER_MESSAGE + attachments * TOKENS_PER_ATTACHMENT


def _attachments(messages: msgspec.Raw) -> tuple[int, int]:
    """How many parts are no text, and how many bytes of JSON they take. A shallow look is not told of broken text."""
    count = bulk = 0
    try:
        decoded = msgspec.json.decode(messages)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return 0, 0
    for message in decoded if isinstance(decoded, list) else ():
        parts = message.get("content") if isinstance(message, dict) else None
        for part in parts if isinstance(parts, list) else ():
            if isinstance(part, dict) and part.get("type") not in ("text", "refusal"):
                count += 1
                bulk += len(msgspec.json.encode(part))
    return count, bulk


ESTIMATED_OUTPUT_TOKENS: Final = 1024
"""What an answer is taken to be long where the client has set it no bound."""

_MOST_CHOICES: Final = 128
_MOST_TOKENS: Final = 10**12
"""More than any limit, and few enough for a store to count."""


Unit = Literal["requests", "tokens", "output_tokens", "parallel"]


class Demand(NamedTuple):
    """Tokens of a request.

    Attributes:
        output: of all its choices together.
        told: whether the client has bounded them itself.
    """

    prompt: int
    output: int
    told: bool

    def of(self, unit: Unit, amount: int) -> int:
        """What to reserve of a limit of `amount`.

        A request that only our own guess makes larger than the limit takes all of it, and is not turned away forever.
        """
        least = self.prompt if unit == "tokens" else 0
        whole = least + self.output
        return whole if self.told or whole <= amount else max(least, amount)


NO_DEMAND: Final = Demand(0, 0, told=True)
"""For requests of which no tokens are counted."""


def demand_of(exchange: Exchange, estimated_output_tokens: int) -> Demand:
    """A token for every four bytes of the messages and tools, and as many as the answer may have.

    Raises `GatewayError` 400 for a body that is no JSON.
    """
    body = exchange.body
    if body is None:
        return NO_DEMAND
    told = _count(body, "max_completion_tokens") or _count(body, "max_tokens")
    choices = min(_count(body, "n") or 1, _MOST_CHOICES)
    output = choices * (told or estimated_output_tokens)
    return Demand(min(prompt_tokens(exchange), _MOST_TOKENS), min(output, _MOST_TOKENS), told is not None)


def _count(body: Body, key: str) -> int | None:
    """What stands there, if it is a whole number above 0; anything else is for the app to refuse."""
    if key not in body:
        return None
    value = body.get(key, int)
    return value if value is not None and value > 0 else None


NOTHING_USED: Final = TokenUsage()

_BYTES: Final = ByteEstimator()


def usage_of(exchange: Exchange, missing_usage: MissingUsagePolicy) -> TokenUsage:
    """The provider's numbers; an estimate where it worked and told none, unless that is free.

    In front of a foreign app nobody else may have estimated. Nothing where no provider was asked, or where it failed
    before it had said anything.
    """
    if exchange.usage is not None:
        return exchange.usage
    if missing_usage_policy(exchange, missing_usage) == "free" or not owes_usage(exchange):
        return NOTHING_USED
    return _BYTES.count(exchange)


def came_through(exchange: Exchange) -> bool:
    """Whether the request reached the app, or a plugin that answered in its stead: nobody further in refused it."""
    return exchange.timings.app is not None or exchange.reply is not None
