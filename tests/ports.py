"""Ports for servers that cannot say which they were given."""

import itertools
import os
import socket
from collections.abc import Iterator
from functools import cache

_FIRST, _COUNT = 10_000, 20_000
"""Below those that the kernel gives to whoever does not care: a client of another test would take one meanwhile."""


@cache
def _numbers(process: int) -> Iterator[int]:
    """Processes side by side begin at different places."""
    return itertools.count(process * 97)


def free_port() -> int:
    """Nobody listens there, on 127.0.0.1, and this process is not told the same one again soon."""
    while True:
        port = _FIRST + next(_numbers(os.getpid())) % _COUNT
        if _is_free(port):
            return port


def free_cluster_port() -> int:
    """The same for a node of a Redis Cluster, which listens on the port 10,000 above it too."""
    while True:
        port = free_port()
        if port + 10_000 < _FIRST + _COUNT and _is_free(port + 10_000):
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as found:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # who has just left there does not matter
        try:
            found.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
