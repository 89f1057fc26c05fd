"""Messages of webhooks, and their signatures as Standard Webhooks describes them (standardwebhooks.com, 1.0).

What a message is about decides its id: the same threshold of the same budget in the same period has the same id in
every process, and after a restart. So a receiver knows a message again that it was sent before.
"""

import base64
import binascii
import hashlib
import hmac
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from crplugins.config.webhooks import EventType
from crplugins.core.principal import Principal
from crplugins.core.usage import usd
from crplugins.keys.state import format_moment
from crplugins.plugins.budgets.windows import BudgetWindow

_PREFIX: Final = "whsec_"
SECONDS_OF_AN_EXPIRED_KEY: Final = 86_400
"""How long after its end a key is still told of, if nobody was there to tell it before."""


About = tuple[str | int | float | None, ...]
"""Who and what: equal in every process."""


class Message(NamedTuple):
    """What a receiver is told.

    Attributes:
        about: what tells it from all others.
        until: milliseconds since 1970: until then nobody tells it again.
    """

    id: str
    about: About
    type: EventType
    body: bytes
    until: int


def about_budget(window: BudgetWindow, threshold: float) -> About:
    """A budget that is raised in its period can reach the same share again."""
    return window.limit.key, window.limit.amount, threshold


def about_key(principal: Principal, expires: datetime, days: int | None) -> About:
    return principal.key_id, format_moment(expires), days


def budget_message(window: BudgetWindow, spent: int, threshold: float, now: datetime) -> Message:
    """`threshold` is the share of the budget that is spent; 1 for all of it."""
    kind: EventType = "budget.exhausted" if threshold >= 1 else "budget.threshold"
    data = {
        "scope": window.scope,
        "owner": window.owner,
        "period": window.period,
        "threshold": threshold,
        "limit_usd": usd(window.limit.amount),
        "spent_usd": usd(spent),
        "starts_at": format_moment(window.start),
        "resets_at": format_moment(budget_reset(window)),
        "shadow": window.shadow,
    }
    return _message(kind, about_budget(window, threshold), data, now, window.limit.period)


def budget_reset(window: BudgetWindow) -> datetime | None:
    """None for a budget without end."""
    return None if window.period == "total" else window.end


def key_message(principal: Principal, expires: datetime, days: int | None, now: datetime) -> Message:
    """`days` before its end, or None for a key that has expired."""
    kind: EventType = "key.expired" if days is None else "key.expiring"
    data: dict[str, Any] = {
        "key": principal.key_id,
        "team": principal.team,
        "owner": principal.owner,
        "expires": format_moment(expires),
    }
    if days is not None:
        data["days"] = days
    until = int((expires.timestamp() + 2 * SECONDS_OF_AN_EXPIRED_KEY) * 1000)
    return _message(kind, about_key(principal, expires, days), data, now, until)


def _message(kind: EventType, about: About, data: dict[str, Any], now: datetime, until: int) -> Message:
    digest = hashlib.sha256(msgspec.json.encode([kind, *about])).hexdigest()
    body = msgspec.json.encode({"type": kind, "timestamp": format_moment(now), "data": data})
    return Message(f"msg_{digest[:32]}", about, kind, body, until)


def signing_key(secret: str) -> bytes:
    """`whsec_` and base64, as the standard writes secrets; any other text is the key itself."""
    if secret.startswith(_PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except binascii.Error:
            pass
    return secret.encode()


def signed_headers(message: Message, key: bytes, now: float) -> dict[str, str]:
    """Of an attempt that is made `now` (seconds since 1970): each has a time and a signature of its own."""
    timestamp = str(int(now))
    signed = b".".join((message.id.encode(), timestamp.encode(), message.body))
    signature = base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    return {"webhook-id": message.id, "webhook-timestamp": timestamp, "webhook-signature": f"v1,{signature}"}
