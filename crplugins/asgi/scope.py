"""The Exchange in an ASGI scope: where it lives, how it is found, how it is made."""

from collections.abc import Callable
from typing import Final

from starlette.types import Scope

from crplugins.core.dialects import CHAT, Dialect, shown_dialect
from crplugins.core.exchange import Exchange, Timings
from crplugins.core.paths import ModelPaths, PathKind

SCOPE_KEY: Final = "crplugins.exchange"
"""Where the Exchange lives in an ASGI scope while its request runs."""

REFUSAL_KEY: Final = "crplugins.refusal"
"""Where `crplugins serve` says why it has ended a request whose body did not come: a `GatewayError`, sent already."""

OUTSIDE_KEY: Final = "crplugins.outside"
"""Where the plugins of the boundaries further out are, outermost first, in the scope of a lifespan."""


def find_exchange(scope: Scope) -> Exchange | None:
    """The Exchange of a request, if one of our boundaries is around."""
    found = scope.get(SCOPE_KEY)
    return found if isinstance(found, Exchange) else None


def kind_of(scope: Scope, paths: ModelPaths, method: str) -> PathKind:
    """What a request with `method` to the target of `scope` is."""
    return paths.kind(method, scope["path"], scope.get("root_path", ""), scope.get("raw_path") or b"")


def make_exchange(
    scope: Scope, clock: Callable[[], float], new_id: Callable[[], str], dialect: Dialect | None = CHAT
) -> Exchange:
    """`dialect` is that in which it asks a model; None for a request that asks none, which has that of its errors."""
    client = scope.get("client")
    return Exchange(
        id=new_id(),
        method=scope["method"],
        path=scope["path"].removeprefix(scope.get("root_path", "")),
        headers=scope["headers"],
        client=client[0] if client else None,
        clock=clock,
        timings=Timings(clock()),
        query=scope.get("query_string", b""),
        asks_model=dialect is not None,
        dialect=dialect or shown_dialect(scope["headers"]),
    )
