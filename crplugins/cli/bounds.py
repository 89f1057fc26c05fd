"""Bounds of connections: those of the configuration, as far as the system allows."""

import resource
from contextlib import suppress
from dataclasses import replace
from typing import Final

from crplugins.cli.connections import Bounds
from crplugins.config import Config

_OTHER_FILES: Final = 40
"""File descriptors that are no connections: of the standard streams, the event loop, databases, journals."""


def allow_descriptors(config: Config) -> None:
    """Raises the soft limit of open files, as far as may be, for all connections and an upstream's for each."""
    wanted = 2 * config.server.max_connections + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(ValueError, OSError):  # some systems have a limit besides, which only they know
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, allowed), hard))


def bounds_of(config: Config) -> Bounds:
    """Those of the configuration, and no more connections than there are file descriptors for.

    With all of them used up no upstream can be reached, no record written, and uvloop closes new connections without a
    word.
    """
    server = config.server
    bounds = Bounds(
        head_bytes=server.max_header_bytes,
        head_seconds=server.header_timeout_seconds,
        body_seconds=server.body_timeout_seconds,
        connections=server.max_connections,
    )
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    most = max((files - _OTHER_FILES) // 2, 1)
    if files == resource.RLIM_INFINITY or most >= server.max_connections:
        return bounds
    return replace(
        bounds, connections=most, why=f"and file descriptors are used up: {files} (ulimit -n) are for {most}"
    )
