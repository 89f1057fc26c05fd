"""`crplugins serve`: the gateway on a port.

What it needs is imported after its first line: that takes a second, and whoever started it looks for a sign of life.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from crplugins import __version__
from crplugins.cli.options import ConfigOption
from crplugins.cli.signals import Hangups, exit_cleanly_on_signals
from crplugins.cli.startup_log import StartupLog, enumerated
from crplugins.core.without_collector import without_collector

if TYPE_CHECKING:
    from crplugins.cli.configuration import FoundConfig
    from crplugins.cli.env_file import EnvFile

LogLevel = Literal["debug", "info", "warning", "error"]
"""That of `config/schema.py`, which is imported after the first line."""

MOST_WORKERS = 512
"""Far more than machines have processors: a zero too many took the memory of all that runs beside it."""

_WITH_KEY = """\
crplugins {version} listens on {address} and serves {models}

Key generated at start-up, {reason}:
{key}

curl {address}/v1/chat/completions -H "Authorization: Bearer {key}" -H "Content-Type: application/json" \
-d '{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello!"}}]}}'

from openai import OpenAI
client = OpenAI(base_url="{address}/v1", api_key="{key}")
answer = client.chat.completions.create(model="{model}", messages=[{{"role": "user", "content": "Hello!"}}])
print(answer.choices[0].message.content)
"""

_WITHOUT_KEY = "crplugins {version} listens on {address} and serves {models}\n"


def serve(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="The YAML file, as --config.")] = None,
    config_file: ConfigOption = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on, instead of server.host.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port to listen on, instead of server.port. 0: a free one.")
    ] = None,
    uds: Annotated[
        str | None, typer.Option(metavar="PATH", help="Unix socket to listen on, instead of an address and a port.")
    ] = None,
    ssl_certfile: Annotated[
        str | None, typer.Option(metavar="PEM", help="Certificate for HTTPS, instead of server.tls.")
    ] = None,
    ssl_keyfile: Annotated[
        str | None,
        typer.Option(metavar="PEM", help="The private key of the certificate, if it is not in the same file."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=MOST_WORKERS, help="Processes that share the port.")] = 1,
    env_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Lines NAME=value, for variables that are not set already.")
    ] = None,
    log_level: Annotated[
        LogLevel | None, typer.Option(help="Least urgent lines of the log, instead of log.level.")
    ] = None,
) -> None:
    """Serve the gateway until SIGTERM or Ctrl-C. SIGHUP and `crplugins reload` read the configuration anew.

    Without keys in the configuration a key is generated at start-up and printed. Without a configuration the demo
    models demo/echo and, through litellm, demo/litellm answer, with no network and no account. Behind a proxy that
    keeps a path prefix set server.root_path.
    """
    exit_cleanly_on_signals()
    hangups = Hangups()
    startup = StartupLog()
    with without_collector():
        from crplugins.cli.bounds import allow_descriptors
        from crplugins.cli.configuration import find
        from crplugins.cli.preflight import require_files
        from crplugins.cli.servers import address_of, listening_socket, serve_here, serve_in_workers
        from crplugins.cli.start import Start
        from crplugins.homes.gateway.app import Gateway
        from crplugins.keys.secrets import mint_secret

        if file is not None and config_file is not None:
            raise typer.BadParameter("the file is given twice", param_hint="--config")
        variables = None if env_file is None else _loaded(env_file)
        found = find(file or config_file)
        run_key = None if found.config.keys else mint_secret()
        run = Start(
            None if found.file is None else found.file.absolute(),
            run_key=run_key,
            server=_server_settings(host=host, port=port, uds=uds, certfile=ssl_certfile, keyfile=ssl_keyfile),
            log_level=log_level,
            env_file=variables,
        )
        config = run.completed(found.config)
        require_files(config)
        allow_descriptors(config)
        gateway = Gateway.from_config(config)
    with listening_socket(config.server) as sock:
        address = address_of(sock, tls=config.server.tls is not None)
        text = welcome(address + config.server.root_path, found, run_key)
        if workers == 1:
            serve_here(gateway, sock, text, startup, run, hangups)
        else:
            serve_in_workers(workers, sock, text, startup, config, run, hangups)


def _loaded(path: Path) -> "EnvFile":
    from crplugins.cli.env_file import EnvFile  # few have one

    variables = EnvFile(path)
    variables.load()
    return variables


def _server_settings(
    *, host: str | None, port: int | None, uds: str | None, certfile: str | None, keyfile: str | None
) -> dict[str, object]:
    """Those of `server` that are given. Raises `BadParameter`."""
    from crplugins.config.tls import TlsSection

    settings: dict[str, object] = {"host": host, "port": port, "uds": uds}
    if keyfile is not None and certfile is None:
        raise typer.BadParameter("is the key of a certificate: give --ssl-certfile too", param_hint="--ssl-keyfile")
    if certfile is not None:
        tls = TlsSection(certfile=certfile, keyfile=keyfile)
        if (problem := tls.problem()) is not None:
            raise typer.BadParameter(problem, param_hint="--ssl-certfile")
        settings["tls"] = tls
    given = {name: value for name, value in settings.items() if value is not None}
    return given | ({"uds": None} if given.keys() & {"host", "port"} and uds is None else {})


def welcome(address: str, found: "FoundConfig", run_key: str | None) -> str:
    """The address and, with a generated key, samples that work as they are. Configured keys are not shown."""
    names = found.names
    text = _WITHOUT_KEY if run_key is None else _WITH_KEY
    return text.format(
        version=__version__,
        address=address,
        models=enumerated(names),
        key=run_key,
        reason="valid until the gateway stops" if found.file is None else "because the configuration has no 'keys'",
        model=next((name for name in names if "*" not in name), names[0].replace("*", "MODEL")),
    )
