"""Addresses of a gateway for clients on its own machine."""

from typing import Final

_LOOPBACK: Final = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104  # compared, not bound


def loopback_of(host: str) -> str:
    """`host`, or the loopback address in place of a wildcard: a client cannot connect to a wildcard everywhere."""
    return _LOOPBACK.get(host, host)


def local_url(host: str, port: int) -> str:
    """The URL for a client on this machine, such as `http://127.0.0.1:4000`."""
    host = loopback_of(host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
