"""`crplugins keys`: the keys of a file or a database."""

import typer

from crplugins.cli.keys.audit import audit
from crplugins.cli.keys.change import delete, update
from crplugins.cli.keys.lint import lint
from crplugins.cli.keys.make import disable, enable, import_, new, revoke, rotate
from crplugins.cli.keys.show import list_, show

keys = typer.Typer(
    name="keys", help="Create, show, change, rotate and revoke keys.", no_args_is_help=True, rich_markup_mode=None
)
keys.command("new")(new)
keys.command("list")(list_)
keys.command("show")(show)
keys.command("update")(update)
keys.command("rotate")(rotate)
keys.command("revoke")(revoke)
keys.command("disable")(disable)
keys.command("enable")(enable)
keys.command("delete")(delete)
keys.command("import")(import_)
keys.command("lint")(lint)
keys.command("audit")(audit)
