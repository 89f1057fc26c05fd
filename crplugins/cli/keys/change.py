"""`crplugins keys update | delete`: what a key may do, and that there is none any more."""

import json
from typing import Annotated, Any

import typer

from crplugins.cli.keys.make import print_changed
from crplugins.cli.keys.source import (
    BudgetOption,
    ExpiresOption,
    IdArgument,
    JsonOption,
    LimitOption,
    ModelOption,
    NotBeforeOption,
    OwnerOption,
    PepperOption,
    PriorityOption,
    SourceOption,
    TagOption,
    TeamOption,
    clock_of,
    with_service,
    words_of,
)
from crplugins.cli.options import ConfigOption


def update(
    context: typer.Context,
    key_id: IdArgument,
    team: TeamOption = None,
    owner: OwnerOption = None,
    tag: TagOption = None,
    model: ModelOption = None,
    expires: ExpiresOption = None,
    not_before: NotBeforeOption = None,
    limit: LimitOption = None,
    budget: BudgetOption = None,
    priority: PriorityOption = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Any other field of a key: weight=3, aliases.fast=gpt-4o-mini, limits.burst.requests_per_minute=10, "
            "on_disconnect=drain, admin=true; may be repeated.",
        ),
    ] = None,
    unset: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="What to take away: budget, limits.tokens_per_day, tags.env; may be repeated."
        ),
    ] = None,
    source: SourceOption = None,
    pepper_env: PepperOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change what a key may do, and leave the rest as it is.

    Limits and tags that are not named stay; a list of models is replaced. Its secrets go on. Every gateway follows
    within 2 seconds.
    """
    words = words_of(
        team=team,
        owner=owner,
        expires=expires,
        not_before=not_before,
        tag=tag,
        model=model,
        limit=limit,
        budget=budget,
        shadow=None,
        priority=priority,
    )
    for text in set_ or ():
        name, sign, value = text.partition("=")
        if not sign:
            raise typer.BadParameter(f"'{text}' is not of the form name=value", param_hint="--set")
        _put(words, name, _value(value), "--set")
    for name in unset or ():
        _put(words, name, None, "--unset")
    patch = words
    if not patch:
        raise typer.BadParameter("name what to change, such as --limit requests_per_minute=60 or --unset budget")
    key = with_service(context, source, pepper_env, config_file, lambda service: service.update(key_id, patch))
    print_changed(key, as_json, clock_of(context)(), f"The key '{key_id}' is changed.")


def _put(patch: dict[str, Any], name: str, value: Any, option: str) -> None:
    """Into a merge patch: a part of a mapping stands behind a dot. The name of a tag or alias may hold dots."""
    first, *rest = name.split(".", 1 if name.startswith(("tags.", "aliases.")) else -1)
    if not all((first, *rest)):
        raise typer.BadParameter(f"'{name}' is no name", param_hint=option)
    inner, last = patch, first
    for part in rest:
        inner = inner.setdefault(last, {})
        last = part
        if not isinstance(inner, dict):
            raise typer.BadParameter(f"'{name}' is given besides", param_hint=option)
    if last in inner:
        raise typer.BadParameter(f"'{name}' is given besides", param_hint=option)
    inner[last] = value


def _value(text: str) -> Any:
    """A number, `true`, `false`, a list or an object as JSON writes them; any other text is itself."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return text if value is None else value


def delete(
    context: typer.Context,
    key_id: IdArgument,
    source: SourceOption = None,
    pepper_env: PepperOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove a key and its secrets.

    Every gateway refuses it within 2 seconds. Its records stay, and a new key may take its id; to keep the id taken,
    revoke the key.
    """
    with_service(context, source, pepper_env, config_file, lambda service: service.delete(key_id))
    typer.echo(f"The key '{key_id}' is deleted; every gateway refuses it within 2 seconds.", err=as_json)
    if as_json:
        typer.echo(json.dumps({"id": key_id, "deleted": True}))
