"""`crplugins reload`: a running gateway reads its configuration anew."""

import os
import sys
from typing import Final

import msgspec
import typer

from crplugins.cli.configuration import listening
from crplugins.cli.fetch import fetch
from crplugins.cli.keys.source import JsonOption, read_config
from crplugins.cli.options import ConfigOption, UrlOption
from crplugins.cli.refused import Refused
from crplugins.homes.gateway.reload_api import RELOAD_PATH, ReloadRefused
from crplugins.homes.gateway.reloading import Reloaded

RELOAD_SECONDS: Final = 150.0
"""It opens databases, and may have to import litellm, in every process."""

TOKEN_VARIABLE: Final = "CRPLUGINS_ADMIN_TOKEN"  # noqa: S105  # its name


def reload(
    url: UrlOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have a running gateway read its configuration again, in every process, and show what has changed.

    It is asked over its admin API, with admin.token of the configuration, or with CRPLUGINS_ADMIN_TOKEN if the gateway
    still has another token. Without an admin API: kill -HUP. Exits with 1 if the new configuration is refused; the
    gateway then keeps the old one.
    """
    address, token = _target(url, config_file)
    headers = {"authorization": f"Bearer {token}", "content-length": "0"}
    status, body = fetch(address, headers, method="POST", seconds=RELOAD_SECONDS)
    if status == 401:
        raise Refused(f"the gateway has another admin token; if the file has a new one: {TOKEN_VARIABLE}, or kill -HUP")
    try:
        if status == 422:
            reloaded = Reloaded(problems=msgspec.json.decode(body, type=ReloadRefused).problems)
        else:
            reloaded = msgspec.json.decode(body, type=Reloaded)
    except msgspec.DecodeError:
        raise Refused(f"{address} answers {status}; it is not the admin API of a gateway of this release") from None
    if as_json:
        sys.stdout.write(f"{msgspec.json.format(msgspec.json.encode(reloaded), indent=2).decode()}\n")
    else:
        _print(reloaded)
    if reloaded.problems:
        raise typer.Exit(1)


def _print(reloaded: Reloaded) -> None:
    if reloaded.problems:
        sys.stderr.write("the configuration stays as it was\n")
        sys.stderr.writelines(f"{problem}\n" for problem in reloaded.problems)
        return
    sys.stdout.write("the configuration is reloaded\n" if reloaded.changes else "nothing has changed\n")
    sys.stdout.writelines(f"{change}\n" for change in reloaded.changes)
    sys.stderr.writelines(f"{each} counts from the next start on\n" for each in reloaded.needs_restart)


def _target(url: str | None, config_file: ConfigOption) -> tuple[str, str]:
    """Where the admin API is, and the token. Raises `ConfigError` and `Refused`."""
    token = os.environ.get(TOKEN_VARIABLE)
    if url is not None and token and config_file is None:
        return url.rstrip("/") + RELOAD_PATH, token
    config, _ = read_config(config_file)
    if not token and config.admin is None:
        raise Refused(
            'the configuration has no admin API; add admin: {token: "..."}, or send the gateway SIGHUP (kill -HUP)'
        )
    token = token or (config.admin.token.get_secret_value() if config.admin is not None else "")
    return (listening(config) if url is None else url.rstrip("/")) + RELOAD_PATH, token
