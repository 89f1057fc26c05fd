"""ClientAddresses: the address that a request comes from, behind trusted proxies."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from crplugins.core.errors import Header

UNKNOWN: Final = "unknown"
"""The address of a request that has none: over a Unix socket, or from a test client."""

_MOST_HOPS: Final = 32
"""How many proxies are looked at. A client can send thousands that it takes for ours."""

_LONGEST_LINE: Final = 4_096
"""Characters of a `forwarded` line that is read: its elements are found from the left, where a client writes."""

_SUBSCRIBER: Final = 64
"""Bits of the IPv6 network that one subscriber has."""

_QUOTED: Final = r'"(?:[^"\\]|\\.)*"'
_ELEMENT: Final = re.compile(rf'(?:[^",]|{_QUOTED})*')
_PAIR: Final = re.compile(rf'\s*([A-Za-z]+)=({_QUOTED}|[^";\s]*)\s*')
_ESCAPED: Final = re.compile(r"\\(.)")

Address = IPv4Address | IPv6Address


class ClientAddresses:
    """Reads `x-forwarded-for` and `forwarded` (RFC 7239) from the right, where trusted proxies append.

    A client can forge everything further left, and the whole of the one header that its proxy does not write. So where
    both name a client and not the same one, neither is believed.

    Args:
        trusted_proxies: networks such as `10.0.0.0/8`. With none no header is read.

    Raises ValueError for an invalid network.
    """

    def __init__(self, trusted_proxies: Iterable[str] = ()) -> None:
        self._trusted: Final[Sequence[IPv4Network | IPv6Network]] = [ip_network(text) for text in trusted_proxies]

    def of(self, client: str | None, headers: Sequence[Header]) -> str:
        """The nearest address that is not a trusted proxy; for IPv6 its /64 network, which one subscriber has."""
        peer = _read(client or "")
        if peer is None:
            return UNKNOWN
        return _format(self._behind(peer, headers) if self._trusts(peer) else peer)

    def _behind(self, peer: Address, headers: Sequence[Header]) -> Address:
        found = {
            self._nearest(peer, hops(lines))
            for name, hops in _HEADERS.items()
            if (lines := [value.decode("latin-1") for key, value in headers if key == name])
        }
        return found.pop() if len(found) == 1 else peer

    def _nearest(self, peer: Address, hops: Iterable[str]) -> Address:
        """Of the hops, the nearest first: the first that no trusted proxy has; else the last that can be read."""
        nearest = peer
        for _, text in zip(range(_MOST_HOPS), hops, strict=False):
            address = _read(text)
            if address is None:
                break
            nearest = address
            if not self._trusts(address):
                break
        return nearest

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


def _hops_of_x_forwarded_for(lines: Sequence[str]) -> Iterator[str]:
    for line in reversed(lines):
        yield from filter(None, map(str.strip, reversed(line.rsplit(",", _MOST_HOPS))))


def _hops_of_forwarded(lines: Sequence[str]) -> Iterator[str]:
    """The `for` of each element, the nearest first; "" for one that cannot be read."""
    for line in reversed(lines):
        elements = _elements(line)
        if elements is None:
            yield ""
        else:
            yield from map(_for_of, reversed(elements))


def _elements(line: str) -> list[str] | None:
    """None for one that is too long, or has a quotation without an end: that would hide what a proxy has added."""
    if len(line) > _LONGEST_LINE:
        return None
    elements, at = [], 0
    while at <= len(line):
        found = _ELEMENT.match(line, at)
        assert found is not None, "it matches nothing at all too"
        at = found.end() + 1
        if found.end() < len(line) and line[found.end()] != ",":
            return None
        if text := found[0].strip():
            elements.append(text)
    return elements


def _for_of(element: str) -> str:
    values: list[str] = []
    at = 0
    while at < len(element):
        pair = _PAIR.match(element, at)
        if pair is None or element[pair.end() : pair.end() + 1] not in ("", ";"):
            return ""
        if pair[1].lower() == "for":
            values.append(_ESCAPED.sub(r"\1", pair[2][1:-1]) if pair[2].startswith('"') else pair[2])
        at = pair.end() + 1
    return values[0] if len(values) == 1 else ""


_HEADERS: Final[dict[bytes, Callable[[Sequence[str]], Iterator[str]]]] = {
    b"x-forwarded-for": _hops_of_x_forwarded_for,
    b"forwarded": _hops_of_forwarded,
}


def _read(text: str) -> Address | None:
    """`203.0.113.7`, `203.0.113.7:4711`, `2001:db8::1`, `[2001:db8::1]:4711`: proxies write all of these."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])  # without the zone of a link-local one, which is any text
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _format(address: Address) -> str:
    if isinstance(address, IPv4Address):
        return str(address)
    return str(ip_network((int(address), _SUBSCRIBER), strict=False))
