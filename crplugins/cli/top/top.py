"""`crplugins top`: live figures of a running gateway, from its metrics."""

import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

import typer
from rich.console import Console
from rich.live import Live

from crplugins.cli.configuration import listening
from crplugins.cli.keys.source import JsonOption, clock_of, read_config
from crplugins.cli.options import ConfigOption, UrlOption
from crplugins.cli.refused import Refused
from crplugins.cli.terminal import plain_console
from crplugins.cli.top.figures import Figures, TopScrape, figures, scrape
from crplugins.cli.top.keyboard import Keyboard
from crplugins.cli.top.show import as_json as to_json
from crplugins.cli.top.show import frame
from crplugins.config import Problem

DEFAULT_PATH: Final = "/metrics"
ONCE_SECONDS: Final = 1.0
"""The time between the two scrapes of a single frame, enough for a rate."""

Take = Callable[[], TopScrape]


def top(
    context: typer.Context,
    url: UrlOption = None,
    token: Annotated[
        str | None, typer.Option(metavar="TOKEN", help="The metrics token. Without it: the configuration's.")
    ] = None,
    interval: Annotated[float, typer.Option(min=0.2, metavar="SECONDS", help="Between two frames.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Print one frame.")] = False,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Watch requests, tokens, errors, spend and limits of a running gateway. q or Ctrl-C ends it."""
    address, secret = _target(url, token, config_file)
    watched = Watched(lambda: scrape(address, secret, time.monotonic), clock_of(context))
    console = plain_console()
    if not (once or as_json) and console.is_terminal:
        _watch(console, watched, address, interval)
        return
    time.sleep(min(interval, ONCE_SECONDS))
    found = watched.next()
    if as_json:
        sys.stdout.write(f"{to_json(found)}\n")
    else:
        _print(console, found, address)


class Watched:
    """A gateway that is scraped repeatedly. Raises `Refused` if a scrape fails."""

    def __init__(self, take: Take, clock: Callable[[], datetime]) -> None:
        self._take, self._clock = take, clock
        self._last = take()

    def next(self) -> Figures:
        """The figures since the last call. After a failure the next call covers the whole time."""
        after = self._take()
        found = figures(self._last, after, self._clock().timestamp())
        self._last = after
        return found


def _watch(console: Console, watched: Watched, address: str, interval: float) -> None:
    """Shows frames until q or Ctrl-C. While the gateway does not answer, the last figures stay, with the reason."""
    try:
        with Keyboard() as keyboard, Live(console=console, screen=True, auto_refresh=False) as live:
            shown, note = watched.next(), None
            while True:
                live.update(frame(shown, address, note, width=console.width), refresh=True)
                if _ends(keyboard, interval):
                    return
                try:
                    shown, note = watched.next(), None
                except Refused as refused:
                    note = str(refused)
    except KeyboardInterrupt:
        return


def _ends(keyboard: Keyboard, seconds: float) -> bool:
    """Whether q is pressed within this time. Other keys change nothing."""
    until = time.monotonic() + seconds
    while (remaining := until - time.monotonic()) > 0:
        if keyboard.pressed(remaining) in ("q", "Q"):
            return True
    return False


def _print(console: Console, found: Figures, address: str) -> None:
    """Prints one frame. A pipe has no width, so the frame is not cut there."""
    if not console.is_terminal:
        console.width = 200
    console.print(frame(found, address, width=console.width))


def _target(url: str | None, token: str | None, config_file: Path | None) -> tuple[str, str | None]:
    """The address to scrape and the token. Raises `ConfigError`."""
    if url is not None and token is not None and config_file is None:
        return _with_path(url, DEFAULT_PATH), token
    config, _ = read_config(config_file)
    metrics = config.metrics
    if url is None and metrics is None:
        problem = Problem((), 'has no metrics; add metrics: {token: "..."}, or name a gateway with --url')
        raise config.source.error([problem])
    if token is None and metrics is not None:
        token = metrics.secret
    path = DEFAULT_PATH if metrics is None else metrics.path
    return _with_path(listening(config) if url is None else url, path), token


def _with_path(url: str, path: str) -> str:
    return url if urlsplit(url).path not in ("", "/") else url.rstrip("/") + path
