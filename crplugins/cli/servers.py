"""Runs uvicorn with the gateway: in this process, or in several worker processes that share one socket."""

import asyncio
import errno
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import Any, Final

import msgspec
import uvicorn

from crplugins.asgi.lifespan import FrozenAfterStartup
from crplugins.cli.address import local_url, loopbacks_of, unix_url
from crplugins.cli.bounds import bounds_of
from crplugins.cli.connections import OpenConnections
from crplugins.cli.drain import DrainingConfig
from crplugins.cli.logs import StderrLog
from crplugins.cli.refused import Refused
from crplugins.cli.reloads import OneProcess
from crplugins.cli.signals import Hangups, ignore_further_signals
from crplugins.cli.start import Start
from crplugins.cli.startup_log import StartupLog
from crplugins.config import Config
from crplugins.config.server import Server
from crplugins.core.free_memory import share_one_heap
from crplugins.core.processes import SECRET_VARIABLE
from crplugins.homes.gateway.app import Gateway
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


def serve_here(
    app: Gateway, sock: socket.socket, welcome: str, startup: StartupLog, run: Start, hangups: Hangups
) -> None:
    """Serves in this process until a signal; prints `welcome` once clients are accepted.

    Raises `Refused` if the app does not start.
    """
    share_one_heap()

    def serving(server: DrainingConfig, _app: FrozenAfterStartup) -> None:
        server.log = log
        reloads = OneProcess(app, server, run)
        hangups.listen(lambda: reloads.ask("SIGHUP"))
        reloads.watch()

    config = DrainingConfig(lambda: FrozenAfterStartup(app), serving=serving, **_options(app.config))
    server = _Server(config, app, welcome, startup)
    try:
        with StderrLog(app.config, run.log_level) as log:
            server.run([sock])
    except OSError as error:  # two servers may bind a port; only one may listen
        raise cannot_listen(sock.getsockname(), error) from None
    except SystemExit as exit_:
        if exit_.code:
            raise Refused("the gateway did not start") from None


def serve_in_workers(
    workers: int,
    sock: socket.socket,
    welcome: str,
    startup: StartupLog,
    config: Config,
    run: Start,
    hangups: Hangups,
) -> None:
    """Serves in `workers` processes until a signal. They read the configuration themselves.

    Raises `Refused` if they do not start.
    """
    from crplugins.cli.supervisor import Supervisor  # one process needs none

    try:
        Path.cwd()
    except OSError:  # as after a release whose folder was deleted
        raise Refused("the current folder is gone, and no worker can be started in it") from None
    with _shared_by_workers() as store, StderrLog(config, run.log_level) as log:
        run = msgspec.structs.replace(run, text=run.file_text(), limit_store=store)
        server = DrainingConfig(_no_app, serving=_no_app, workers=workers, **_options(config))
        server.log = log
        supervisor = Supervisor(server, [sock], run, hangups, watch=config.server.watch)
        said = reachable(sock), welcome, startup
        threading.Thread(target=_print_when_listening, args=said, daemon=True).start()
        supervisor.run()
        ignore_further_signals()
    if supervisor.failed:
        raise Refused("the gateway did not start")


def _no_app(*_: object) -> FrozenAfterStartup:
    raise RuntimeError("each worker has its own")


@contextmanager
def _shared_by_workers() -> Iterator[str]:
    """Within the block, what all workers of this run share: a folder for metrics, and one store of limits, whose URL it
    is, for a configuration with `memory`: each of them would let through all that is allowed.

    Raises `Refused` where no file can be made.
    """
    with ExitStack() as stack:
        os.environ.setdefault(SECRET_VARIABLE, token_hex(32))
        try:
            stack.enter_context(multiprocess_directory())
            store = f"sqlite:///{stack.enter_context(TemporaryDirectory(prefix='crplugins-limits-'))}/limits.db"
        except OSError as error:
            raise Refused(
                f"workers share temporary files, and none can be made: {error.strerror}. TMPDIR names a place for them"
            ) from None
        yield store


def _options(config: Config) -> dict[str, Any]:
    tls, password = config.server.tls, None
    if tls is not None and tls.keyfile_password is not None:
        password = tls.keyfile_password.get_secret_value()
    return {
        "ssl_certfile": None if tls is None else tls.certfile,
        "ssl_keyfile": None if tls is None else tls.keyfile,
        "ssl_keyfile_password": password,
        **_OPTIONS,
        "connections": OpenConnections(bounds_of(config)),
        "timeout_keep_alive": config.server.idle_timeout_seconds,
        "shutdown_seconds": config.server.shutdown_seconds,
        "timeout_worker_healthcheck": WORKER_SECONDS,
    }


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, app: Gateway, welcome: str, startup: StartupLog) -> None:
        super().__init__(config)
        self._app, self._welcome, self._startup = app, welcome, startup
        self._telling: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        waiting = self._app.waiting()
        self._startup.listens(waiting)
        _print(self._welcome)
        if waiting:
            self._telling = asyncio.create_task(self._startup.loads(self._app))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._telling is not None:
            self._telling.cancel()  # else it would say that what is still being imported cannot be served
        await super().shutdown(sockets)


def _print(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _print_when_listening(addresses: list[Any], text: str, startup: StartupLog) -> None:
    """Prints when a connection is accepted, which is when the first worker is ready."""
    while not any(_accepts(address) for address in addresses):
        time.sleep(0.05)
    startup.listens()
    _print(text)


def _accepts(address: Any) -> bool:
    """`address`: of a Unix socket its path, else the host and the port."""
    if isinstance(address, tuple):
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    else:
        family = socket.AF_UNIX
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        return probe.connect_ex(address) == 0


@contextmanager
def listening_socket(server: Server) -> Iterator[socket.socket]:
    """Within the block, the bound socket that a configuration says. Raises `Refused` with the reason."""
    if server.uds is None:
        with bind(server.host, server.port) as sock:
            yield sock
        return
    with bind_unix(Path(server.uds)) as sock:
        try:
            yield sock
        finally:
            Path(server.uds).unlink(missing_ok=True)


def bind_unix(path: Path) -> socket.socket:
    """Likewise a Unix socket, which everybody on the machine may connect to who may enter its folder, as with uvicorn.

    One that a process has left that is gone is replaced. Raises `Refused`.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket() and not _accepts(str(path)):
            path.unlink()
        sock.bind(str(path))
        path.chmod(0o666)
        sock.set_inheritable(True)
    except OSError as error:
        sock.close()
        raise cannot_listen(str(path), error) from None
    return sock


def bind(host: str, port: int) -> socket.socket:
    """A bound socket that does not listen yet: connections are refused until the server is ready.

    Raises `Refused` with the reason.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise Refused(f"cannot listen on {host or 'an empty host'}: {error.strerror}") from None
    except UnicodeError:  # of the codec for names, which comes before the look-up
        raise Refused(f"cannot listen on {host}: no name of a host has a part that is empty or so long") from None
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.set_inheritable(True)
    except OSError as error:
        sock.close()
        raise cannot_listen((host, port), error) from None
    return sock


def cannot_listen(address: Any, error: OSError) -> Refused:
    """`address`: of a Unix socket its path, else the host and the port."""
    if isinstance(address, str):
        reason = error.strerror or str(error)
        if error.errno == errno.EADDRINUSE:
            reason = "a process listens there" if Path(address).is_socket() else "something else than a socket is there"
        return Refused(f"cannot listen on {address}: {reason}")
    host, port = address[:2]
    if error.errno == errno.EADDRINUSE:
        return Refused(f"port {port} on {host} is in use; stop what listens there or choose another with --port")
    return Refused(f"cannot listen on port {port} of {host}: {error.strerror}")


def reachable(sock: socket.socket) -> list[Any]:
    """The socket's addresses for a client on this machine, of which one answers: loopback instead of a wildcard."""
    if sock.family == socket.AF_UNIX:
        return [sock.getsockname()]
    host, port, *scope = sock.getsockname()
    return [(name, port, *(scope if name == host else ())) for name in loopbacks_of(host)]


def address_of(sock: socket.socket, *, tls: bool = False) -> str:
    """The URL for a client on this machine, such as `http://127.0.0.1:4000`."""
    if sock.family == socket.AF_UNIX:
        return unix_url(sock.getsockname())
    host, port = sock.getsockname()[:2]
    return local_url(host, port, tls=tls)
