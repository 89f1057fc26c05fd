"""The facts of one request, from its first byte to its record.

`exchange.py` is the one object that every boundary, plugin and handler sees. It is made of two others:
`request_side.py` says what is asked and by whom, and `account.py` what the answer says of itself and what it has used.
Around them is what an exchange holds: `timings.py`, `attempts.py` (calls of providers), `reply.py` (answers of our own)
and `slot.py` (the private state of a plugin). `conclusion.py` decides how it has ended.
"""

from crplugins.core.exchange.attempts import Attempt, AttemptKind, FallbackReason, RescueKind, Spent
from crplugins.core.exchange.exchange import Exchange
from crplugins.core.exchange.reply import MODEL_HEADER, Drain, Push, Refusal, Reply
from crplugins.core.exchange.request_id import new_request_id
from crplugins.core.exchange.slot import Slot
from crplugins.core.exchange.timings import Timings

__all__ = [
    "MODEL_HEADER", "Attempt", "AttemptKind", "Drain", "Exchange", "FallbackReason", "Push", "Refusal", "Reply",
    "RescueKind", "Slot", "Spent", "Timings", "new_request_id",
]  # fmt: skip
