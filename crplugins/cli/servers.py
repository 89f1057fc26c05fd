"""Runs uvicorn with the gateway: in this process, or in several worker processes that share one socket."""

import errno
import os
import resource
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from tempfile import TemporaryDirectory
from typing import Any, Final

import uvicorn
from uvicorn.config import STARTUP_FAILURE

from crplugins.asgi.lifespan import FrozenAfterStartup
from crplugins.cli.address import local_url, loopback_of
from crplugins.cli.configuration import FoundConfig
from crplugins.cli.connections import Bounds, OpenConnections
from crplugins.cli.drain import DrainingConfig, Workers
from crplugins.cli.logs import logging_to_stderr
from crplugins.cli.refused import Refused
from crplugins.config import Config
from crplugins.config.load import CONFIG_VARIABLE
from crplugins.homes.gateway.app import LIMIT_STORE_VARIABLE, RUN_KEY_VARIABLE, Gateway
from crplugins.plugins.metrics.directory import multiprocess_directory

_OPTIONS: Final[dict[str, Any]] = {
    "loop": "auto",  # uvloop where there is one
    "ws": "none",
    "lifespan": "on",
    "interface": "asgi3",  # uvicorn would take an app that is a plain function for one of ASGI 2
    "access_log": False,
    "log_config": None,  # its records go where ours go, which escapes and withholds
    "server_header": False,
    "proxy_headers": False,  # limits.trusted_proxies says whose are believed; uvicorn believes any local process
    "log_level": "warning",
}


WORKER_SECONDS: Final = 30
"""For a worker to start, when it is to take the place of another, or to show that it is alive. On a busy machine
uvicorn's own 5 end a replacement that would have come."""

_OTHER_FILES: Final = 40
"""File descriptors that are no connections: of the standard streams, the event loop, databases, journals."""


def serve_here(app: Gateway, sock: socket.socket, welcome: str) -> None:
    """Serves in this process until a signal; prints `welcome` once clients are accepted.

    Raises `Refused` if the app does not start.
    """
    config = DrainingConfig(FrozenAfterStartup(app), **_options(app.config))
    server = _Server(config, lambda: _print(welcome))
    try:
        with logging_to_stderr(app.config):
            server.run([sock])
    except OSError as error:  # two servers may bind a port; only one may listen
        host, port = sock.getsockname()[:2]
        raise cannot_listen(host, port, error) from None
    except SystemExit as exit_:
        if exit_.code:
            raise Refused("the gateway did not start") from None


def serve_in_workers(workers: int, sock: socket.socket, welcome: str, found: FoundConfig, run_key: str | None) -> None:
    """Serves in `workers` processes until a signal. They read the configuration themselves.

    Raises `Refused` if they do not start.
    """
    _set_variable(CONFIG_VARIABLE, str(found.file.resolve()) if found.file else None)
    _set_variable(RUN_KEY_VARIABLE, run_key)
    options = _options(found.config)
    with _shared_by_workers(found.config), logging_to_stderr(found.config):
        config = DrainingConfig("crplugins.cli.worker:create_app", factory=True, workers=workers, **options)
        supervisor = Workers(config, sockets=[sock])
        said = sock.family, reachable(sock), welcome
        threading.Thread(target=_print_when_listening, args=said, daemon=True).start()
        supervisor.run()
    if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
        raise Refused("the gateway did not start")


@contextmanager
def _shared_by_workers(config: Config) -> Iterator[None]:
    """Within the block, what all workers of this run share: a folder for metrics, and one store of limits.

    With `memory` each of them would let through all that is allowed. Raises `Refused` where no file can be made.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(multiprocess_directory())
            store = None
            if config.limits.store == "memory":
                store = f"sqlite:///{stack.enter_context(TemporaryDirectory(prefix='crplugins-limits-'))}/limits.db"
        except OSError as error:
            raise Refused(
                f"workers share temporary files, and none can be made: {error.strerror}. TMPDIR names a place for them"
            ) from None
        _set_variable(LIMIT_STORE_VARIABLE, store)
        yield


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


def _options(config: Config) -> dict[str, Any]:
    return {
        **_OPTIONS,
        "connections": OpenConnections(bounds_of(config)),
        "timeout_keep_alive": config.server.idle_timeout_seconds,
        "shutdown_seconds": config.server.shutdown_seconds,
        "timeout_worker_healthcheck": WORKER_SECONDS,
    }


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._announce()


def _print(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _print_when_listening(family: int, address: tuple[Any, ...], text: str) -> None:
    """Prints when a connection is accepted, which is when the first worker is ready."""
    while not _accepts(family, address):
        time.sleep(0.05)
    _print(text)


def _accepts(family: int, address: tuple[Any, ...]) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        return probe.connect_ex(address) == 0


def _set_variable(variable: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(variable, None)
    else:
        os.environ[variable] = value


def bind(host: str, port: int) -> socket.socket:
    """A bound socket that does not listen yet: connections are refused until the server is ready.

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
    """The socket's address for a client on this machine: loopback instead of a wildcard."""
    host, *others = sock.getsockname()
    return (loopback_of(host), *others)


def address_of(sock: socket.socket) -> str:
    """The URL for a client on this machine, such as `http://127.0.0.1:4000`."""
    host, port = sock.getsockname()[:2]
    return local_url(host, port)
