"""`crplugins keys update | delete`: what a key may do, and that there is none any more."""

import json
from collections.abc import Sequence
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
    patch = _with_unset(words, unset or ())
    if not patch:
        raise typer.BadParameter("name what to change, such as --limit requests_per_minute=60 or --unset budget")
    key = with_service(context, source, pepper_env, config_file, lambda service: service.update(key_id, patch))
    print_changed(key, as_json, clock_of(context)(), f"The key '{key_id}' is changed.")


def _with_unset(words: dict[str, Any], unset: Sequence[str]) -> dict[str, Any]:
    """A merge patch: a name, or a part of a mapping behind a dot, is null. A tag's own name may hold dots."""
    patch = dict(words)
    for path in unset:
        name, dot, part = path.partition(".")
        inner = patch.get(name, {})
        if not name or (dot and not part) or (inner if not dot else not isinstance(inner, dict) or part in inner):
            raise typer.BadParameter(f"'{path}' is no name, or is given besides", param_hint="--unset")
        patch[name] = {**inner, part: None} if dot else None
    return patch


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
