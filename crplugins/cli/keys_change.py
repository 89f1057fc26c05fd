"""`crplugins keys revoke | disable`: secrets that stop working."""

import json
from datetime import datetime
from typing import Annotated

import typer

from crplugins.cli.configuration import ConfigOption
from crplugins.cli.keys_source import JsonOption, PepperOption, SourceOption, clock_of, with_desk
from crplugins.cli.keys_words import IdArgument
from crplugins.keys.desk import describe
from crplugins.keys.key import Key


def revoke(
    context: typer.Context,
    key_id: IdArgument,
    source: SourceOption = None,
    pepper_env: PepperOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """End every secret of a key now.

    Every gateway refuses it within 2 seconds. Its id and its records stay.
    """
    key = with_desk(context, source, pepper_env, config_file, lambda desk: desk.revoke(key_id))
    done = f"The key '{key_id}' is revoked; every gateway refuses it within 2 seconds."
    print_changed(key, as_json, clock_of(context)(), done)


def disable(
    context: typer.Context,
    key_id: IdArgument,
    enable: Annotated[bool, typer.Option("--enable", help="Undo it.")] = False,
    source: SourceOption = None,
    pepper_env: PepperOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Refuse a key until it is enabled again."""
    key = with_desk(
        context, source, pepper_env, config_file, lambda desk: desk.set_disabled(key_id, disabled=not enable)
    )
    done = f"The key '{key_id}' is {'enabled' if enable else 'disabled'}."
    print_changed(key, as_json, clock_of(context)(), done)


def print_changed(key: Key, as_json: bool, now: datetime, sentence: str) -> None:
    """The key as it is now, for scripts; for people what has been done."""
    typer.echo(sentence, err=as_json)
    if as_json:
        typer.echo(json.dumps(describe(key, now), indent=2))
