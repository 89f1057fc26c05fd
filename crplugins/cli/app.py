"""The commands and what they share: `--version`, and the exit codes and messages of failures.

A command is imported when it is asked for: `serve` starts without the tables of the others, and keeps its memory.
"""

import errno
import io
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from importlib import import_module
from types import MappingProxyType
from typing import Annotated, Final

import typer

from crplugins import __version__
from crplugins.cli.refused import Refused
from crplugins.core.without_collector import without_collector
from crplugins.settings.errors import ConfigError

COMMANDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "serve": "crplugins.cli.serve",
        "reload": "crplugins.cli.reload",
        "check": "crplugins.cli.check",
        "migrate": "crplugins.cli.migrate",
        "schema": "crplugins.cli.schema",
        "explain": "crplugins.cli.explain",
        "usage": "crplugins.cli.usage",
        "reconcile": "crplugins.cli.reconcile",
        "replay": "crplugins.cli.replay",
        "top": "crplugins.cli.top.top",
        "keys": "crplugins.cli.keys",
        "dashboards": "crplugins.cli.export",
        "rules": "crplugins.cli.export",
        "version": "crplugins.cli.version",
    }
)
"""The module of each, in the order of the help; there it is a function, or a group of commands, of the same name."""


def command_line(names: Iterable[str]) -> typer.Typer:
    """The command with these of its commands."""
    app = typer.Typer(
        name="crplugins",
        help="Your own OpenAI-compatible chat completions gateway.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    for name in names:
        command = getattr(import_module(COMMANDS[name]), name)
        if isinstance(command, typer.Typer):
            app.add_typer(command)
        else:
            app.command()(command)
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"crplugins {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    pass


def run(now: Callable[[], datetime] | None = None) -> None:
    """Runs the command line. A configuration error exits with 2, a refusal with 1, each with a message on stderr.

    `now` is the wall clock of the commands that need one.
    """
    _open_what_is_closed()
    _lose_what_stderr_does_not_take()
    _print_every_character()
    try:
        try:
            _run(now)
        finally:
            sys.stdout.flush()
    except OSError as error:
        if error.filename is not None or error.errno not in _FULL:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else Python tries once more, and says so
        sys.stderr.write(f"what the command prints cannot be written: {error.strerror}\n")
        sys.exit(1)


_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""Why a file may not take what is written to it."""


def _open_what_is_closed() -> None:
    """Some supervisors start a process without stdin, stdout or stderr. The next file that it opened, its ledger or a
    client's connection, would be one of them, and be given what others write there."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 - for as long as the process lasts


class _LossyStderr(io.TextIOWrapper):
    """What its file does not take is lost, and nothing fails for it; what comes when it takes more again is written."""

    def write(self, text: str) -> int:
        with suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()


def _lose_what_stderr_does_not_take() -> None:
    """Its file may be on a disk that is full for a while: a gateway starts and serves without its log. A host of this
    process may have a stderr of its own, which stays."""
    if sys.stderr is sys.__stderr__ and isinstance(sys.stderr, io.TextIOWrapper):
        binary = open(sys.stderr.fileno(), "wb", closefd=False)  # noqa: SIM115 - for as long as the process lasts
        sys.stderr = _LossyStderr(binary, sys.stderr.encoding, sys.stderr.errors, line_buffering=True)


def _print_every_character() -> None:
    """In a locale such as Latin-1 a name or a sign of the reference would end the command. Programs and files are given
    UTF-8, as JSON and YAML are; a terminal what it can show, with escapes for the rest."""
    if sys.stdout is sys.__stdout__ and isinstance(sys.stdout, io.TextIOWrapper):
        if sys.stdout.isatty():
            sys.stdout.reconfigure(errors="backslashreplace")
        else:
            sys.stdout.reconfigure(encoding="utf-8", errors="strict")


def _run(now: Callable[[], datetime] | None) -> None:
    try:
        asked = sys.argv[1:2]
        names = asked if asked and asked[0] in COMMANDS else COMMANDS  # else it is help or a mistake, which names all
        with without_collector():
            command = command_line(names)
            import pydantic.type_adapter  # noqa: F401 - Typer reads a command line with it: else its import is collected
        command(prog_name="crplugins", obj=now)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
    except Refused as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)
