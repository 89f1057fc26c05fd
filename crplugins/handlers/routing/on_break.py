"""OnBreak: what the configuration says about a stream that breaks after its first token."""

from typing import Final, Literal

import msgspec

Action = Literal["error", "restart", "continue"]

HOLD_TOKENS: Final = 100
HOLD_SECONDS: Final = 2.0
"""Most streams that break do so at their beginning. A client waits for its first words no longer than for those of a
model that thinks."""


class OnBreak(msgspec.Struct, frozen=True):
    """Of one deployment.

    Attributes:
        action: end the stream with an error; hold its beginning back and `restart` it at the next deployment; or have
            the next deployment `continue` it.
        hold_tokens, hold_seconds: how much of the beginning `restart` holds back: until a token comes with so many
            tokens held, or so long after the first one.
    """

    action: Action = "error"
    hold_tokens: int = HOLD_TOKENS
    hold_seconds: float = HOLD_SECONDS


ENDS: Final = OnBreak()
