"""The socket a server listens on, bound before the server exists: a port in use is known at once."""

import errno
import socket
from typing import Any

from crplugins.cli.refused import Refused


def bind(host: str, port: int) -> socket.socket:
    """A bound socket that does not listen yet; clients are refused until the server is ready for them.

    Raises `Refused` with the reason.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise Refused(f"cannot listen on {host}: {error.strerror}") from None
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.set_inheritable(True)
    except OSError as error:
        sock.close()
        raise cannot_listen(host, port, error) from None
    return sock


def cannot_listen(host: str, port: int, error: OSError) -> Refused:
    if error.errno == errno.EADDRINUSE:
        return Refused(f"port {port} on {host} is in use; stop what listens there or choose another with --port")
    return Refused(f"cannot listen on port {port} of {host}: {error.strerror}")


def reachable(sock: socket.socket) -> tuple[Any, ...]:
    """The socket's address as a client on this machine connects to it: a wildcard is this machine."""
    host, *rest = sock.getsockname()
    return ({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), *rest)  # noqa: S104  # compared, not bound


def address_of(sock: socket.socket) -> str:
    """`http://127.0.0.1:4000`, as a client on this machine writes it."""
    host, port = reachable(sock)[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
