"""`crplugins keys new | rotate | import`: secrets that begin to work. A new one is printed once."""

import json
import os
from datetime import datetime, timedelta
from typing import Annotated, Final

import typer

from crplugins.cli.keys.lint import weakness
from crplugins.cli.keys.source import (
    AdminOption,
    BudgetOption,
    ExpiresOption,
    IdArgument,
    IdOption,
    JsonOption,
    LimitOption,
    ModelOption,
    NotBeforeOption,
    OwnerOption,
    PepperOption,
    PriorityOption,
    ShadowOption,
    SourceOption,
    TagOption,
    TeamOption,
    clock_of,
    duration,
    with_service,
    words_of,
)
from crplugins.cli.options import ConfigOption
from crplugins.core.final_newline import without_final_newline
from crplugins.keys.key import Key
from crplugins.keys.service import Minted
from crplugins.keys.state import format_moment, is_live, key_to_public_dict, state_of

_TAKEN: Final = "every gateway takes it within 2 seconds"


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
    key = with_service(context, source, pepper_env, config_file, lambda service: service.revoke(key_id))
    done = f"The key '{key_id}' is revoked; every gateway refuses it within 2 seconds."
    print_changed(key, as_json, clock_of(context)(), done)


def disable(
    context: typer.Context,
    key_id: IdArgument,
    source: SourceOption = None,
    pepper_env: PepperOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Refuse a key until it is enabled again."""
    key = with_service(
        context, source, pepper_env, config_file, lambda service: service.set_disabled(key_id, disabled=True)
    )
    print_changed(key, as_json, clock_of(context)(), f"The key '{key_id}' is disabled.")


def enable(
    context: typer.Context,
    key_id: IdArgument,
    source: SourceOption = None,
    pepper_env: PepperOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a key back that was disabled."""
    key = with_service(
        context, source, pepper_env, config_file, lambda service: service.set_disabled(key_id, disabled=False)
    )
    print_changed(key, as_json, clock_of(context)(), f"The key '{key_id}' is enabled.")


def print_changed(key: Key, as_json: bool, now: datetime, sentence: str) -> None:
    """The key as it is now, for scripts; for people what has been done."""
    typer.echo(sentence, err=as_json)
    if as_json:
        typer.echo(json.dumps(key_to_public_dict(key, now), indent=2))


def new(
    context: typer.Context,
    id: IdOption,
    team: TeamOption = None,
    owner: OwnerOption = None,
    tag: TagOption = None,
    model: ModelOption = None,
    expires: ExpiresOption = None,
    not_before: NotBeforeOption = None,
    limit: LimitOption = None,
    budget: BudgetOption = None,
    shadow: ShadowOption = None,
    priority: PriorityOption = None,
    admin: AdminOption = False,
    source: SourceOption = None,
    pepper_env: PepperOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create a key and print its secret.

    The secret is the last line of stdout, and is shown nowhere else.
    """
    words = words_of(
        id=id,
        team=team,
        owner=owner,
        expires=expires,
        not_before=not_before,
        tag=tag,
        model=model,
        limit=limit,
        budget=budget,
        shadow=shadow,
        priority=priority,
        admin=admin or None,
    )
    minted = with_service(context, source, pepper_env, config_file, lambda service: service.new(words), creates=True)
    _tell(f"The key '{id}' is made; {_TAKEN}. Its secret is shown once:")
    _print_secret(minted, as_json)
    _note_state(minted.key, clock_of(context)())


def rotate(
    context: typer.Context,
    key_id: IdArgument,
    overlap: Annotated[
        timedelta, typer.Option(parser=duration, metavar="TIME", help="How long the older secrets go on: 24h, 7d, 0.")
    ] = "24h",  # type: ignore[assignment]  # typer parses it
    source: SourceOption = None,
    pepper_env: PepperOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print a new secret of a key, and end the older ones.

    The new one is the last line of stdout, and is shown nowhere else. The older ones go on for the time of --overlap;
    those of a leaked key are to be revoked first.
    """
    minted = with_service(context, source, pepper_env, config_file, lambda service: service.rotate(key_id, overlap))
    now = clock_of(context)()
    for secret in minted.key.secrets[:-1]:
        if is_live(secret, now):
            _tell(f"{secret.hint} goes on until {format_moment(secret.not_after)}.")
    _tell(f"The new secret of '{key_id}' is shown once; {_TAKEN}:")
    _print_secret(minted, as_json)
    _note_state(minted.key, now)


def import_(
    context: typer.Context,
    id: IdOption,
    hash: Annotated[str | None, typer.Option(metavar="sha256:HEX", help="The SHA-256 of its secret.")] = None,
    env: Annotated[str | None, typer.Option(metavar="NAME", help="The environment variable with its secret.")] = None,
    team: TeamOption = None,
    owner: OwnerOption = None,
    tag: TagOption = None,
    model: ModelOption = None,
    expires: ExpiresOption = None,
    not_before: NotBeforeOption = None,
    limit: LimitOption = None,
    budget: BudgetOption = None,
    shadow: ShadowOption = None,
    priority: PriorityOption = None,
    admin: AdminOption = False,
    source: SourceOption = None,
    pepper_env: PepperOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take over a key of another system.

    Its clients keep their secret.
    """
    words = words_of(
        id=id,
        team=team,
        owner=owner,
        expires=expires,
        not_before=not_before,
        tag=tag,
        model=model,
        limit=limit,
        budget=budget,
        shadow=shadow,
        priority=priority,
        admin=admin or None,
    ) | _foreign(hash, env)
    key = with_service(context, source, pepper_env, config_file, lambda service: service.take(words), creates=True)
    print_changed(key, as_json, clock_of(context)(), f"The key '{key.id}' is taken over.")


def _foreign(hash: str | None, env: str | None) -> dict[str, str]:
    if (hash is None) == (env is None):
        raise typer.BadParameter("give one of --hash sha256:HEX and --env NAME")
    if env is None:
        return {"hash": hash or ""}
    secret = without_final_newline(os.environ.get(env, ""))
    if not secret:
        raise typer.BadParameter(f"the environment variable {env} is not set", param_hint="--env")
    if weak := weakness(secret):
        _tell(f"warning: the secret in {env} {weak}")
    return {"secret": secret}


def _print_secret(minted: Minted, as_json: bool) -> None:
    typer.echo(json.dumps({"id": minted.key.id, "secret": minted.secret}) if as_json else minted.secret)


def _note_state(key: Key, now: datetime) -> None:
    """A secret that does not work yet, or any more, would surprise."""
    if (state := state_of(key, now)) != "live":
        _tell(f"note: the key '{key.id}' is {state}")


def _tell(sentence: str) -> None:
    typer.echo(sentence, err=True)
