"""Estimates of token counts, for answers whose provider gave none."""

import re
from types import TracebackType
from typing import Final, Protocol, Self

import msgspec

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
