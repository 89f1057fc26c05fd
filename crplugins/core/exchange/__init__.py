"""The facts of one request, from its first byte to its record.

`exchange.py` is the one object that every boundary, plugin and handler sees, and decides how the request has ended. It
is made of two others: `request_side.py` says what is asked and by whom, and holds the private state of plugins;
`account.py` says what the answer tells of itself and what it has used. `attempt.py` is one call of a provider.
`reply.py` has the answers of our own.
"""

from crplugins.core.exchange.attempt import Attempt, AttemptKind, FallbackReason, RescueKind, Spent
from crplugins.core.exchange.exchange import Exchange
from crplugins.core.exchange.reply import MODEL_HEADER, Drain, Push, Refusal, Reply
from crplugins.core.exchange.request_side import Slot, Timings, new_request_id

__all__ = [
    "MODEL_HEADER", "Attempt", "AttemptKind", "Drain", "Exchange", "FallbackReason", "Push", "Refusal", "Reply",
    "RescueKind", "Slot", "Spent", "Timings", "new_request_id",
]  # fmt: skip
