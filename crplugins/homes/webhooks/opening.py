"""`open_webhooks`: the plugin that the configuration's `webhooks` describe."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from urllib.parse import urlsplit

from crplugins.config.webhooks import WebhookSection
from crplugins.core.network import Network, is_public
from crplugins.handlers.http.client import HttpClient
from crplugins.handlers.http.interface import Endpoint
from crplugins.homes.webhooks.claims import Claims
from crplugins.homes.webhooks.delivery import Receiver
from crplugins.homes.webhooks.plugin import Subscription, Webhooks
from crplugins.keys.source import KeySource
from crplugins.limits.reservations import Reservations
from crplugins.plugins.budgets.watch import BudgetWatch

_HEADERS = {"content-type": "application/json", "user-agent": "crplugins-webhooks"}


def open_webhooks(
    sections: Sequence[WebhookSection], watch: BudgetWatch, reservations: Reservations, keys: KeySource
) -> Webhooks:
    return Webhooks(partial(_subscriptions, sections, reservations), watch, reservations, keys)


async def _subscriptions(
    sections: Sequence[WebhookSection], reservations: Reservations
) -> tuple[list[Subscription], Callable[[], Awaitable[None]]]:
    """In the loop that they are used in. Raises `ValueError` for an environment that names no usable proxy."""
    network = await asyncio.to_thread(Network)  # reads files
    clients = {private: HttpClient(network, None if private else is_public) for private in (False, True)}

    async def close() -> None:
        for client in clients.values():
            await client.close()

    return [_subscription(section, clients[section.private_addresses], reservations) for section in sections], close


def _subscription(section: WebhookSection, client: HttpClient, reservations: Reservations) -> Subscription:
    url = section.url.get_secret_value()

    async def open_endpoint() -> Endpoint:
        return client.endpoint(url, _HEADERS)

    receiver = Receiver(
        urlsplit(url).hostname or "",  # the rest of a URL is often a secret
        section.secret.get_secret_value(),
        Claims(reservations, url),
        open_endpoint,
    )
    return Subscription(receiver, frozenset(section.events), section.budget_thresholds, section.expiry_days)
