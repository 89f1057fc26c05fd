"""What the named middlewares are made of: the gateway's own plugins, and what stands in for a gateway around them."""

from collections.abc import Iterator
from datetime import datetime
from types import TracebackType
from typing import Literal, TypeVar

from crplugins.config import Config
from crplugins.core.plugin import Plugin
from crplugins.homes.assembly import builtin_plugins
from crplugins.keys.inline import InlineKeys
from crplugins.plugins.aliases.plugin import ModelAliases
from crplugins.plugins.aliases.table import AliasTable

P = TypeVar("P", bound=Plugin)


def builtin(config: Config, kind: type[P]) -> P:
    """The gateway's plugin of this kind, as `config` has it. Not for those that need a source, a ledger or prices."""
    plugins = builtin_plugins(
        config, keys=InlineKeys(()), aliases=ModelAliases(), ledger=None, metrics=None, prices=lambda _model: None
    )
    return next(plugin for plugin in plugins if isinstance(plugin, kind))


def alias_names(table: AliasTable) -> Iterator[str]:
    """The names in a table: what may be asked for, and what answers."""
    for view in (table.gateway, *table.teams.values()):
        for entry in view:
            yield entry.pattern.text
            yield from (model.text for model in entry.models)


class AnswerReader(Plugin):
    """Does nothing. That it needs to read has the core find the usage in the answers of an app."""

    reads_body = True
    reads_events = True


class SpentReader(Plugin):
    """Asks the database of a ledger that somebody else writes. A plugin for its lifetime."""

    def __init__(self, url: str) -> None:
        from crplugins.ledger.database import LedgerDatabase  # sqlalchemy, needed only here

        self._database = LedgerDatabase(url, migrate=False)

    async def spent(self, scope: Literal["key", "team"], name: str, since: datetime) -> int:
        """As `Ledger.spent`."""
        from crplugins.ledger.report import spent

        async with self._database.reading() as connection:
            return await spent(connection, scope, name, since)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._database.close()
