"""The section `webhooks`: who is told of budgets and keys."""

from typing import Annotated, Final, Literal, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from crplugins.core.network import has_host
from crplugins.settings.secret_text import OneLine
from crplugins.settings.section import Number, Section, Whole, refusal

EventType = Literal["budget.threshold", "budget.exhausted", "key.expiring", "key.expired"]

EVENTS: Final[tuple[EventType, ...]] = get_args(EventType)


def _url(url: SecretStr) -> SecretStr:
    value = url.get_secret_value()
    if not value.lower().startswith(("http://", "https://")) or not has_host(value) or "@" in urlsplit(value).netloc:
        raise refusal("must be an http:// or https:// URL without a user")
    return url


class WebhookSection(Section):
    """A receiver that is told of budgets and keys, with signed messages as Standard Webhooks describes them."""

    url: Annotated[SecretStr, OneLine, AfterValidator(_url)] = Field(examples=["https://hooks.example.com/crplugins"])
    """Where messages are sent, by POST. It is kept as a secret: with many receivers, whoever knows it may send."""

    secret: Annotated[SecretStr, Field(min_length=16), OneLine] = Field(examples=["${WEBHOOK_SECRET}"])
    """What messages are signed with: `whsec_` and base64, or any text of at least 16 characters."""

    events: Annotated[tuple[EventType, ...], Field(min_length=1)] = Field(
        default=EVENTS, examples=[["budget.threshold", "key.expiring"]]
    )
    """What the receiver is told of; without it, of all."""

    budget_thresholds: tuple[Annotated[Number, Field(gt=0, lt=1)], ...] = Field(default=(0.8,), examples=[[0.5, 0.9]])
    """The shares of a budget that are `budget.threshold`, each once in a period. All of it is `budget.exhausted`."""

    expiry_days: tuple[Annotated[Whole, Field(gt=0, le=366)], ...] = Field(default=(7, 1), examples=[[30, 7, 1]])
    """How many days before its end a key is `key.expiring`, each once."""

    private_addresses: bool = Field(default=False, examples=[True])
    """Whether the receiver may be in a private network or on this machine; nothing is sent to such addresses without
    it."""
