"""What PluginMiddleware does with requests that ask no model, as far as they are its affair.

`Misspelt` refuses what is nearly one. `Uncovered` finds routes that ask a model under a path of their own.
"""

import logging
from collections.abc import Iterable
from typing import Final, Literal

from starlette.types import Message, Receive, Scope

from crplugins.core.errors import invalid_url, wrong_method
from crplugins.core.exchange import Exchange
from crplugins.core.plugin import Plugin

logger = logging.getLogger("crplugins.paths")

_ALLOWED: Final = "POST"
_LONGEST: Final = 100
"""Characters of a client's path that stand in a log line."""

_ROUTES: Final = 16
"""For how many routes it is said that they are not covered: a scanner finds more than an app has."""


class Misspelt(Plugin):
    """Refuses a request that some router may take for one that asks a model, and that plugins would not.

    Args:
        kind: `nearly`, a path with another spelling: 404. `method`, the path with a method that is not POST: 405.
    """

    every_path = True

    def __init__(self, kind: Literal["nearly", "method"]) -> None:
        self._kind = kind
        self._told = False

    def on_request(self, exchange: Exchange) -> None:
        if self._kind == "method":
            raise wrong_method(exchange.method, exchange.path, _ALLOWED)
        if not self._told:
            self._told = True
            logger.warning(
                "request %s refused: POST %r is another spelling of a path that asks a model. If it is a route of the "
                "app, name it: paths=[...]. Others like it are refused without a line.",
                exchange.id,
                exchange.path[:_LONGEST],
            )
        raise invalid_url(exchange.method, exchange.path)


class Uncovered:
    """Says once of a route that it asks a model and is not covered: plugins do not see it.

    Args:
        missed: the names of those plugins.
    """

    def __init__(self, missed: Iterable[str]) -> None:
        self._missed = ", ".join(missed)
        self._told: set[str] = set()

    def watch(self, scope: Scope, receive: Receive) -> Receive:
        """`receive` for a POST on a path that is no dialect's. It looks at the first piece of the body."""
        path = scope["path"]
        if path in self._told or len(self._told) >= _ROUTES:
            return receive

        looked = False

        async def looking() -> Message:
            nonlocal looked
            message = await receive()
            if not looked:
                looked = True
                if asks_a_model(message.get("body", b"")):
                    self._tell(path)
            return message

        return looking

    def _tell(self, path: str) -> None:
        if path in self._told or len(self._told) >= _ROUTES:
            return
        self._told.add(path)
        logger.warning(
            "POST %r asks a model, and %s do not see it: its path ends with none that they know, such as "
            "/chat/completions or /v1/responses. If it speaks one of these, name the route: "
            "paths={PATH: 'chat'}.",
            path[:_LONGEST],
            self._missed,
        )


def asks_a_model(body: bytes) -> bool:
    """Whether a JSON body, of which this is the beginning, looks like a question to a model."""
    return b'"messages"' in body or (b'"model"' in body and (b'"prompt"' in body or b'"input"' in body))
