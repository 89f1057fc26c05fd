"""`crplugins serve`: the gateway on a port."""

import signal
import sys
from typing import Annotated

import typer

from crplugins.cli.configuration import ConfigOption, find
from crplugins.cli.listening import address_of, bind
from crplugins.cli.welcome import welcome
from crplugins.keys.secrets import mint_secret


def serve(
    config_file: ConfigOption = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on, instead of server.host.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port to listen on, instead of server.port. 0: a free one.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that share the port.")] = 1,
) -> None:
    """Serve the gateway until SIGTERM or Ctrl-C.

    Without keys in the configuration a key is made for this run and printed. Without a configuration the demo model
    demo/echo answers, with no network and no account.
    """
    exit_cleanly_on_signals()
    from crplugins.cli.servers import serve_here, serve_in_workers  # what serves is no matter of the other commands
    from crplugins.homes.gateway.app import Gateway

    found = find(config_file)
    config = found.config
    run_key = None if config.keys else mint_secret()
    gateway = Gateway.from_config(config.with_run_key(run_key) if run_key else config)
    with bind(config.server.host if host is None else host, config.server.port if port is None else port) as sock:
        text = welcome(address_of(sock), config, run_key)
        if workers == 1:
            serve_here(gateway, sock, text)
        else:
            serve_in_workers(workers, sock, text, found, run_key)


def exit_cleanly_on_signals() -> None:
    """SIGTERM and Ctrl-C end the process with 0, also while it starts.

    uvicorn takes the signals over while it serves and raises them again behind its own shutdown.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: sys.exit(0))
