"""ClientAddresses: the address that a request comes from, behind trusted proxies."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from crplugins.core.errors import Header

UNKNOWN: Final = "unknown"
"""The address of a request that has none: over a Unix socket, or from a test client."""

_FORWARDED_FOR: Final = b"x-forwarded-for"
_SUBSCRIBER: Final = 64
"""Bits of the IPv6 network that one subscriber has."""

Address = IPv4Address | IPv6Address


class ClientAddresses:
    """Reads `x-forwarded-for` from the right, where trusted proxies append; a client can forge everything further left.

    Args:
        trusted_proxies: networks such as `10.0.0.0/8`. With none the header is not read.

    Raises ValueError for an invalid network.
    """

    def __init__(self, trusted_proxies: Iterable[str] = ()) -> None:
        self._trusted: Final[Sequence[IPv4Network | IPv6Network]] = [ip_network(text) for text in trusted_proxies]

    def of(self, client: str | None, headers: Sequence[Header]) -> str:
        """The nearest address that is not a trusted proxy; for IPv6 its /64 network, which one subscriber has."""
        nearest = _read(client or "")
        if nearest is None:
            return UNKNOWN
        if self._trusts(nearest):
            for text in reversed(_forwarded(headers)):
                address = _read(text)
                if address is None:
                    break
                nearest = address
                if not self._trusts(address):
                    break
        return _format(nearest)

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


def _forwarded(headers: Sequence[Header]) -> list[str]:
    """Every entry of every such header, in their order."""
    return [part for name, value in headers if name == _FORWARDED_FOR for part in value.decode("latin-1").split(",")]


def _read(text: str) -> Address | None:
    """`203.0.113.7`, `203.0.113.7:4711`, `2001:db8::1`, `[2001:db8::1]:4711`: proxies write all of these."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _format(address: Address) -> str:
    if isinstance(address, IPv4Address):
        return str(address)
    return str(ip_network((int(address), _SUBSCRIBER), strict=False))
