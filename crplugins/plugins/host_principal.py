"""HostPrincipal: takes the caller from the host application, which has authenticated it."""

import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, Final

from crplugins.core.exchange import Exchange
from crplugins.core.plugin import Plugin
from crplugins.core.principal import Principal
from crplugins.keys.refusals import refused

HOST_CALLER: Final[ContextVar[Any]] = ContextVar("crplugins.host_caller", default=None)
"""The caller that the host has authenticated for the current request; set by it or by HostPrincipalMiddleware."""

_NAMES: Final = ("key_id", "id", "pk", "sub", "username", "identity", "display_name")

_ABSENT: Final = object()


class HostPrincipal(Plugin):
    """Replaces Auth where the host authenticates callers itself, with keys, cookies or passwords.

    A chat completion without an authenticated caller is refused with 401. Other paths belong to the host and are never
    refused here; a gateway on one of them (`/v1/models`) knows the caller all the same.

    Nothing that a host may write for nobody is a caller: None, true and false, 0, whatever is empty, and an object that
    says it is not authenticated, or is anonymous.

    Args:
        principal: makes a Principal of the host's caller, which is never one of those. None, or another of those, from
            it refuses the request.
    """

    every_path: bool = True

    def __init__(self, principal: "Callable[[Any], Principal | None] | None" = None) -> None:
        self._make = principal_of if principal is None else principal

    def on_request(self, exchange: Exchange) -> None:
        if not exchange.asks_model:
            with suppress(Exception):  # a caller without a name is refused at a chat completion
                exchange.principal = self._found()
            return
        principal = self._found()
        if principal is None:
            raise refused("You are not signed in.")
        exchange.principal = principal

    def _found(self) -> Principal | None:
        caller = HOST_CALLER.get()
        if _is_nobody(caller):
            return None
        made: Any = self._make(caller)
        if not made:
            return None
        if not isinstance(made, Principal):
            raise TypeError(f"HostPrincipal needs a Principal, and its function made a {type(made).__name__}")
        return made if str(made.key_id).strip() else None


def principal_of(caller: Any) -> Principal | None:
    """The default `principal`: a Principal stays as it is; the name of any other caller becomes the id of a key.

    The name of a mapping or an object is the first of `key_id`, `id`, `pk`, `sub`, `username`, `identity`,
    `display_name` that names somebody. None if it has some of them and none does.

    Raises TypeError for a caller that has none of them.
    """
    if isinstance(caller, Principal):
        return caller
    name = caller if isinstance(caller, str | int) else _name_of(caller)
    return None if _is_blank(name) else Principal(key_id=str(name))


def _is_nobody(caller: Any) -> bool:
    """Whether a host writes this where it has authenticated nobody.

    Raises TypeError where that must be awaited: nothing is decided then.
    """
    if isinstance(caller, bool) or not caller:
        return True
    return not _says(caller, "is_authenticated", unsaid=True) or _says(caller, "is_anonymous", unsaid=False)


def _says(caller: Any, name: str, *, unsaid: bool) -> bool:
    """What the caller says of itself in an attribute, a method without arguments, or a key. `unsaid` if it does not."""
    said = _value(caller, name)
    if said is _ABSENT:
        return unsaid
    if callable(said):
        said = said()
    if inspect.isawaitable(said):
        if inspect.iscoroutine(said):
            said.close()
        raise TypeError(f"{name} of {type(caller).__name__} must be awaited; give HostPrincipal what it returns")
    return bool(said)


def _name_of(caller: Any) -> str | int:
    """The first that names somebody; "" if none of those that the caller has does."""
    values = [value for name in _NAMES if (value := _value(caller, name)) is not _ABSENT]
    if not values:
        kind = type(caller).__name__
        raise TypeError(f"no name found in {kind}; give HostPrincipal a function that makes a Principal")
    return next((value for value in values if isinstance(value, str | int) and not _is_blank(value)), "")


def _is_blank(name: str | int) -> bool:
    """Whether it names nobody: spaces, false and true, 0 and below."""
    if isinstance(name, str):
        return not name.strip()
    return isinstance(name, bool) or name <= 0


def _value(caller: Any, name: str) -> Any:
    if isinstance(caller, Mapping):
        return caller.get(name, _ABSENT)
    try:
        return getattr(caller, name, _ABSENT)
    except NotImplementedError:  # Starlette's BaseUser declares attributes that it does not implement
        return _ABSENT
