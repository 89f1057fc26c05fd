"""`open_webhooks`: the plugin that the configuration's `webhooks` describe."""

import asyncio
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from crplugins.config.webhooks import WebhookSection
from crplugins.core.network import Network, is_public
from crplugins.core.shared import Shared
from crplugins.handlers.http.client import HttpClient
from crplugins.handlers.http.interface import Endpoint
from crplugins.homes.webhooks.claims import Claims
from crplugins.homes.webhooks.delivery import Receiver
from crplugins.homes.webhooks.plugin import CLOSING_SECONDS, Subscription, Webhooks
from crplugins.keys.source import KeySource
from crplugins.limits.reservations import Reservations
from crplugins.plugins.budgets.watch import BudgetWatch

_HEADERS = {"content-type": "application/json", "user-agent": "crplugins-webhooks"}


class OpenReceiver(Shared):
    """A receiver with its connections, for every configuration that has it: what is to be told, and what it has been
    told already, outlives the configuration."""

    def __init__(self, section: WebhookSection, reservations: Reservations) -> None:
        self._url: Final = section.url.get_secret_value()
        self._secret: Final = section.secret.get_secret_value()
        self._private: Final = section.private_addresses
        self._reservations: Final = reservations
        self._client: HttpClient | None = None
        name = urlsplit(self._url).hostname or ""  # the rest of a URL is often a secret
        self.receiver: Final = Receiver(name, self._secret, Claims(reservations, self._url), self._endpoint)

    def is_like(self, other: "OpenReceiver") -> bool:
        """Whether either tells the same server the same, and agrees with the same processes who does."""
        return self._reservations is other._reservations and self._words == other._words

    @property
    def _words(self) -> tuple[str, str, bool]:
        return self._url, self._secret, self._private

    async def open(self) -> None:
        """Raises `ValueError` for an environment that names no usable proxy."""
        network = await asyncio.to_thread(lambda: Network().ready(self._url))
        self._client = HttpClient(network, None if self._private else is_public)

    async def close(self) -> None:
        await self.receiver.close(CLOSING_SECONDS)
        if self._client is not None:
            await self._client.close()

    async def _endpoint(self) -> Endpoint:
        assert self._client is not None, "it is open while it delivers"
        return self._client.endpoint(self._url, _HEADERS)


def open_receivers(
    sections: Sequence[WebhookSection], reservations: Reservations, previous: Sequence[OpenReceiver] = ()
) -> list[OpenReceiver]:
    """One for each section, of `previous` where that has it."""
    others, receivers = [*previous], []
    for section in sections:
        made = OpenReceiver(section, reservations)
        kept = next((each for each in others if each.is_like(made)), None)
        if kept is not None:
            others.remove(kept)
        receivers.append(kept or made)
    return receivers


def open_webhooks(
    sections: Sequence[WebhookSection],
    receivers: Sequence[OpenReceiver],
    watch: BudgetWatch,
    reservations: Reservations,
    keys: KeySource,
) -> Webhooks:
    """`receivers` are those of the sections, in their order."""
    subscriptions = [
        Subscription(each.receiver, frozenset(section.events), section.budget_thresholds, section.expiry_days)
        for section, each in zip(sections, receivers, strict=True)
    ]
    return Webhooks(subscriptions, receivers, watch, reservations, keys)
