"""`crplugins explain`: what would happen to a request of a key for a model, step by step."""

import json
from typing import Annotated

import msgspec
import typer

from crplugins.cli.configuration import find
from crplugins.cli.keys.source import JsonOption, clock_of, key_id, keys_of, sentences
from crplugins.cli.options import ConfigOption
from crplugins.homes.explained import explained
from crplugins.keys.opening import parts_of


def explain(
    context: typer.Context,
    key: Annotated[str, typer.Option("--key", parser=key_id, metavar="ID", help="The key's id, not its secret.")],
    model: Annotated[str, typer.Option("--model", metavar="NAME", help="The name a client would ask for.")],
    user: Annotated[str | None, typer.Option(help="The request's `user`, for weighted aliases.")] = None,
    input_tokens: Annotated[int, typer.Option(min=0, help="Tokens of the prompt, for what it costs.")] = 1000,
    output_tokens: Annotated[int, typer.Option(min=0, help="Tokens of the answer, for what it costs.")] = 1000,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show step by step how a request would be served. Exits with 0 if it would be served, else with 1."""
    found = find(config_file)
    with sentences():
        keys = [each for part in parts_of(found.config.keys) for each in keys_of(part)]
        now, tokens = clock_of(context)(), (input_tokens, output_tokens)
        steps = explained(found.config, keys, key, model, now=now, user=user, tokens=tokens)
    served = all(step.ok for step in steps)
    if as_json:
        shown = msgspec.to_builtins(steps)
        typer.echo(json.dumps({"key": key, "model": model, "served": served, "steps": shown}, indent=2))
    else:
        for step in steps:
            typer.echo(f"{'ok' if step.ok else 'no'}  {step.step:<10}  {step.text}")
    if not served:
        raise typer.Exit(1)
