"""HostPrincipal: takes the caller from the host application, which has authenticated it."""

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
"""The caller that the host has authenticated for the current request; set by it or by HostPrincipalMiddleware."""

_NAMES: Final = ("key_id", "id", "pk", "sub", "username", "identity", "display_name")


class HostPrincipal(Plugin):
    """Replaces Auth where the host authenticates callers itself, with keys, cookies or passwords.

    A chat completion without an authenticated caller is refused with 401. Other paths belong to the host and are never
    refused here; a gateway on one of them (`/v1/models`) knows the caller all the same.

    Args:
        principal: makes a Principal of the host's caller, which is never None; None from it refuses the request.
    """

    chat_only: bool = False

    def __init__(self, principal: "Callable[[Any], Principal | None] | None" = None) -> None:
        self._make = principal_of if principal is None else principal

    async def on_request(self, exchange: Exchange) -> None:
        if not is_chat_completion(exchange.method, exchange.path):
            with suppress(Exception):  # a caller without a name is refused at a chat completion
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
    """The default `principal`: a Principal stays as it is; the name of any other caller becomes the id of a key.

    The name of a mapping or an object is the first of `key_id`, `id`, `pk`, `sub`, `username`, `identity`,
    `display_name` that it has. None for a caller that is not authenticated (Starlette, Django).

    Raises TypeError for a caller without a name.
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
    except NotImplementedError:  # Starlette's BaseUser declares attributes that it does not implement
        return None
