"""Estimates of token counts: before an answer, for what to reserve, and after one whose provider reported no usage.

`demand_of` estimates a request before it is sent. `usage_of` counts it afterwards: the provider's numbers, or those of
an estimate where the request lacks usage and the policy for missing usage allow one. Both count one token for every
four bytes; an Estimator counts better.
"""

import re
from types import TracebackType
from typing import Final, Literal, NamedTuple, Protocol, Self

import msgspec

from crplugins.core.body import Body
from crplugins.core.exchange import Exchange
from crplugins.core.principal import MissingUsagePolicy
from crplugins.core.sse import Event
from crplugins.core.usage import BYTES_PER_TOKEN, TokenUsage

ESTIMATED_OUTPUT_TOKENS: Final = 1024
"""The assumed length of an answer that the client has not limited."""

TOKENS_PER_MESSAGE: Final = 4
TOKENS_PER_ATTACHMENT: Final = 1000
"""For an image, a recording or a file: its size in base64 has no relation to its tokens."""

NOTHING_USED: Final = TokenUsage()
_ATTACHMENT: Final = re.compile(rb'"(?:image_url|input_audio|file)"')
_MOST_CHOICES: Final = 128
_MOST_TOKENS: Final = 10**12
"""More than any limit, and few enough for a store to count."""

Unit = Literal["requests", "tokens", "output_tokens", "parallel"]


class Demand(NamedTuple):
    """The tokens that a request may use.

    Attributes:
        output: tokens of all its choices together.
        limited_by_client: whether the client has limited the output itself.
    """

    prompt: int
    output: int
    limited_by_client: bool

    def of(self, unit: Unit, amount: int) -> int:
        """How much to reserve of a limit of `amount`.

        A request that exceeds the limit only by our own estimate reserves all of it, instead of being refused for ever.
        """
        least = self.prompt if unit == "tokens" else 0
        whole = least + self.output
        return whole if self.limited_by_client or whole <= amount else max(least, amount)


NO_DEMAND: Final = Demand(0, 0, limited_by_client=True)
"""For requests whose tokens are not counted."""


def demand_of(exchange: Exchange, estimated_output_tokens: int) -> Demand:
    """One token for every four bytes of the messages and tools, and as many tokens as the answer may have.

    Raises `GatewayError` 400 for a body that is not JSON.
    """
    body = exchange.body
    if body is None:
        return NO_DEMAND
    limit = _count(body, "max_completion_tokens") or _count(body, "max_tokens")
    choices = min(_count(body, "n") or 1, _MOST_CHOICES)
    output = choices * (limit or estimated_output_tokens)
    return Demand(min(prompt_tokens(exchange), _MOST_TOKENS), min(output, _MOST_TOKENS), limit is not None)


def _count(body: Body, key: str) -> int | None:
    """The value of `key` if it is a whole number above 0; the app refuses anything else."""
    if key not in body:
        return None
    value = body.get(key, int)
    return value if value is not None and value > 0 else None


def usage_of(exchange: Exchange, missing_usage: MissingUsagePolicy) -> TokenUsage:
    """The provider's numbers; an estimate where it worked and reported none, unless such usage is free.

    In front of a foreign app no other part may have estimated. Nothing where no provider was called, or where it failed
    before it had sent any output.
    """
    if exchange.usage is not None:
        return with_prompt(exchange) or exchange.usage
    if missing_usage_policy(exchange, missing_usage) == "free" or not lacks_usage(exchange):
        return NOTHING_USED
    return _BYTES.count(exchange)


def with_prompt(exchange: Exchange) -> TokenUsage | None:
    """The usage with an estimate of its prompt, where the provider has counted the output alone; None elsewhere."""
    usage = exchange.usage
    if usage is None or usage.input_tokens or not usage.output_tokens or exchange.body is None:
        return None
    return msgspec.structs.replace(usage, input_tokens=min(prompt_tokens(exchange), _MOST_TOKENS))


def came_through(exchange: Exchange) -> bool:
    """Whether the request reached the app, or a plugin that answered instead: no plugin further in refused it."""
    return exchange.timings.app is not None or exchange.reply is not None


def lacks_usage(exchange: Exchange) -> bool:
    """Whether a provider did work and has not reported its usage. For a request that is over, or nearly."""
    if exchange.usage is not None or exchange.timings.app is None:
        return False
    if exchange.output_bytes:
        return True
    if exchange.outcome == "cancelled":  # only the last attempt matters: it had not failed when the client left
        return not (exchange.attempts and exchange.attempts[-1].error_type)
    return exchange.status == 200 and exchange.error is None


def missing_usage_policy(exchange: Exchange, default: MissingUsagePolicy) -> MissingUsagePolicy:
    """The key's own, else `default`."""
    own = exchange.principal.missing_usage if exchange.principal is not None else None
    return own or default


class Estimator(Protocol):
    """Counts better than one token for every four bytes. Opened and closed with the plugin that uses it."""

    def observe(self, exchange: Exchange, event: Event) -> None:
        """Keeps the content of a chunk or document, if counting needs it."""

    async def count(self, exchange: Exchange) -> TokenUsage | None:
        """The tokens of a request that is over; None if they cannot be counted."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class ByteEstimator:
    """One token for every four bytes: 0.75 (Chinese) to 1.14 (English) of the true count of text, in a microsecond."""

    def count(self, exchange: Exchange) -> TokenUsage:
        return TokenUsage(input_tokens=prompt_tokens(exchange), output_tokens=tokens_in(exchange.output_bytes))


_BYTES: Final = ByteEstimator()


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
    """The number of parts that are not text, and their size in bytes of JSON. Invalid JSON counts as text."""
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
