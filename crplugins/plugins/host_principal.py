"""HostPrincipal: the caller is whoever the host application has let in."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, Final

from crplugins.core.exchange import Exchange
from crplugins.core.plugin import Plugin
from crplugins.core.principal import Principal
from crplugins.core.wire import is_chat_completion
from crplugins.keys.refusals import refused

HOST_CALLER: Final[ContextVar[Any]] = ContextVar("crplugins.host_caller", default=None)
"""Whom the host has found for the request that runs. Set by a host, or by HostPrincipalMiddleware from its scope."""

_NAMES: Final = ("key_id", "id", "pk", "sub", "username", "identity", "display_name")


class HostPrincipal(Plugin):
    """Takes the place of Auth where the host has authenticated already: keys, cookies and passwords are its business.

    A chat completion for which it has found nobody is refused with 401. Other paths are the host's own, which nothing
    here keeps from anybody; a gateway among them (`/v1/models`) knows the caller all the same.

    Args:
        principal: makes a Principal of what the host has found, which is never None; None from it refuses too.
    """

    chat_only: bool = False

    def __init__(self, principal: "Callable[[Any], Principal | None] | None" = None) -> None:
        self._make = principal_of if principal is None else principal

    async def on_request(self, exchange: Exchange) -> None:
        if not is_chat_completion(exchange.method, exchange.path):
            with suppress(Exception):  # a caller that cannot be named is told of at a chat completion
                exchange.principal = self._found()
            return
        principal = self._found()
        if principal is None:
            raise refused("You are not signed in.")
        exchange.principal = principal

    def _found(self) -> Principal | None:
        caller = HOST_CALLER.get()
        return None if caller is None else self._make(caller)


def principal_of(caller: Any) -> Principal | None:
    """A Principal as it is; the name of a caller as the id of a key.

    Of a mapping or an object the name is the first of `key_id`, `id`, `pk`, `sub`, `username`, `identity`,
    `display_name` that it has. None for one that is not authenticated (Starlette, Django).

    Raises TypeError for one without a name.
    """
    if isinstance(caller, Principal):
        return caller
    if getattr(caller, "is_authenticated", True) is False:
        return None
    name = caller if isinstance(caller, str | int) else _name_of(caller)
    return Principal(key_id=str(name))


def _name_of(caller: Any) -> str | int:
    for name in _NAMES:
        value = caller.get(name) if isinstance(caller, Mapping) else _attribute(caller, name)
        if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
            return value
    raise TypeError(f"no name found in {type(caller).__name__}; give HostPrincipal a function that makes a Principal")


def _attribute(caller: object, name: str) -> Any:
    try:
        return getattr(caller, name, None)
    except NotImplementedError:  # Starlette's BaseUser declares more than it has
        return None
