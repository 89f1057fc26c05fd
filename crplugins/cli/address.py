"""Addresses of a gateway for clients on its own machine."""

from typing import Final
from urllib.parse import quote

_LOOPBACK: Final = {
    "0.0.0.0": ["127.0.0.1"],  # noqa: S104  # compared, not bound
    "": ["127.0.0.1"],
    "::": ["::1", "127.0.0.1"],  # which takes IPv4 too, and nothing else on a machine without IPv6
}


def loopbacks_of(host: str) -> list[str]:
    """`host`, or the loopback addresses in place of a wildcard: a client cannot connect to a wildcard everywhere."""
    return _LOOPBACK.get(host, [host])


def local_url(host: str, port: int, *, tls: bool = False) -> str:
    """The URL for a client on this machine, such as `http://127.0.0.1:4000`."""
    scheme, hosts = "https" if tls else "http", loopbacks_of(host)
    host = hosts[0] if len(hosts) == 1 else "localhost"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def unix_url(path: str) -> str:
    """The URL of a Unix socket, as `curl --unix-socket` has none and requests-unixsocket spells it."""
    return f"http+unix://{quote(path, safe='')}"
