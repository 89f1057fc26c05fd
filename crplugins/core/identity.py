"""Identities: the end user and the session of a request, as its client names them.

A client may name whom it likes, so that a name can only restrict what its key may use, never widen it: it stands for a
scope within the key. Names may be personal (an address of mail), so that only their digests leave this module.
"""

import logging
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import sha256
from typing import Final, Literal, NamedTuple, Self
from urllib.parse import quote

import msgspec

from crplugins.core.bounded_map import BoundedMap
from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange, Slot
from crplugins.core.lenient_json import NOT_JSON

logger = logging.getLogger("crplugins.limits")

MissingIdentity = Literal["share", "refuse", "ignore"]
"""A request that names nobody: all such requests of a key share one scope, are refused, or are in no scope."""

UNNAMED: Final = "unnamed"
"""The scope that requests without a name share."""

OTHERS: Final = "others"
"""The scope that the names share for which a key has no room."""

LONGEST_NAME: Final = 256
"""Characters of a name. OpenAI allows 64 in `safety_identifier`."""

_DIGEST: Final = 32
"""Hexadecimal digits: no two names of a key meet by chance, and no name of ours (`unnamed`) is a digest."""

_FORGOTTEN_AT_ONCE: Final = 2

_HOUR: Final = 3600
_DAY: Final = 24 * _HOUR


class IdentitySource(NamedTuple):
    """A place where a client may name an end user or a session: `user`, `header:x-session-id`, `metadata:session_id`.

    Attributes:
        where: `field` is one of the request's body.
        name: of a header in lower case.
    """

    where: Literal["field", "header", "metadata"]
    name: str

    @classmethod
    def of(cls, text: str) -> Self:
        """Raises ValueError for a text that names no place."""
        where, colon, name = text.partition(":")
        if not colon:
            where, name = "field", text
        if where not in ("field", "header", "metadata") or not name or name != name.strip() or not name.isascii():
            raise ValueError("must be a field of the request such as user, header:NAME or metadata:NAME")
        return cls(where, name.lower() if where == "header" else name)  # type: ignore[arg-type]  # one of the three

    def __str__(self) -> str:
        """As in an error message, and as its `param`."""
        return f"metadata.{self.name}" if self.where == "metadata" else self.name

    def read(self, exchange: Exchange) -> str | None:
        """The name that stands there; None for none.

        Raises `GatewayError` 400 for one that is too long, for a header that stands there twice, and for a body that
        is not JSON.
        """
        name = self._from_header(exchange) if self.where == "header" else self._from_body(exchange)
        name = name.strip() if name else None
        if name and len(name) > LONGEST_NAME:
            raise _refused(
                self,
                f"Invalid '{self}': string too long. Expected a string with maximum length {LONGEST_NAME}, but got a "
                f"string with length {len(name)} instead.",
                "string_above_max_length",
            )
        return name or None

    def _from_header(self, exchange: Exchange) -> str | None:
        wanted = self.name.encode()
        values = {value for name, value in exchange.headers if name == wanted}
        if len(values) > 1:  # a proxy that names the user has added its own: nobody can tell which one is its
            raise _refused(self, f"The header '{self}' stands there more than once.", "invalid_value")
        return _header_text(values.pop()) if values else None

    def _from_body(self, exchange: Exchange) -> str | None:
        if exchange.body is None:
            return None
        if self.where == "field":
            return _name_in(exchange.body.fields.get(self.name))
        metadata = exchange.body.get("metadata", dict[str, msgspec.Raw])
        return None if metadata is None else _name_in(metadata.get(self.name))


_NAME: Final = msgspec.json.Decoder(str | int)


def _name_in(value: msgspec.Raw | None) -> str | None:
    """A number names somebody too. Anything else does not: RequestGuard judges wrong types."""
    if value is None:
        return None
    try:
        return str(_NAME.decode(value))
    except NOT_JSON:
        return None


def _header_text(value: bytes) -> str:
    """A name has the same scope in a header as in a body, which is UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _refused(source: IdentitySource, message: str, code: str) -> GatewayError:
    return GatewayError(400, message, param=str(source), code=code)


class IdentityRules(msgspec.Struct, frozen=True):
    """Where clients name their end users and sessions.

    Attributes:
        user, session: the places, of which the first counts that names somebody.
        missing_user, missing_session: what happens to a request that names nobody.
        session_idle_seconds: for how long at least a session without requests is remembered.
        max_per_key: how many users and how many sessions of one key have a scope of their own at one time. Further
            ones share one, so that a client which invents names fills no store.
    """

    user: tuple[IdentitySource, ...] = (IdentitySource("field", "safety_identifier"), IdentitySource("field", "user"))
    session: tuple[IdentitySource, ...] = (
        IdentitySource("header", "x-session-id"),
        IdentitySource("metadata", "session_id"),
    )
    missing_user: MissingIdentity = "share"
    missing_session: MissingIdentity = "refuse"
    session_idle_seconds: int = _DAY
    max_per_key: int = 10_000


_AS_BUILT_IN: Final = IdentityRules()


class Identities:
    """Finds the scope of a request's end user and that of its session. One for all plugins of a process.

    Args:
        user_seconds: how long a user without requests takes up room: as long as a store may remember what is used.
    """

    def __init__(self, rules: IdentityRules = _AS_BUILT_IN, *, user_seconds: float = _DAY) -> None:
        self.rules: Final = rules
        session_seconds = rules.session_idle_seconds + _HOUR
        self._user: Final = _Names("user", rules.user, rules.missing_user, rules.max_per_key, user_seconds)
        self._session: Final = _Names(
            "session", rules.session, rules.missing_session, rules.max_per_key, session_seconds
        )

    def user_of(self, exchange: Exchange) -> str | None:
        """The scope of the end user, as the beginning of keys in a store: `key/team-a/user/` and a digest.

        Instead of the digest it may be `UNNAMED` or `OTHERS`. None for no scope at all.

        Raises `GatewayError` 400 where a name is missing that must be there, or is none.
        """
        return self._user.scope_of(exchange)

    def session_of(self, exchange: Exchange) -> str | None:
        """The same of the session."""
        return self._session.scope_of(exchange)

    def session_end(self, now: int) -> int:
        """Until when a session is remembered that has a request `now`, in milliseconds since 1970.

        By the hour, so that the limits of a session are not made anew for each of its requests.
        """
        hour = 1000 * _HOUR
        return (now // hour + 1) * hour + 1000 * self.rules.session_idle_seconds


class _Names:
    """The names of one kind. Which names of a key have a scope of their own is known to each process for itself."""

    def __init__(
        self, kind: str, sources: Sequence[IdentitySource], missing: MissingIdentity, most: int, seconds: float
    ) -> None:
        self._kind: Final = kind
        self._sources: Final = sources
        self._missing: Final[MissingIdentity] = missing
        self._most: Final = most
        self._seconds: Final = seconds
        self._seen_by_key: Final[BoundedMap[str, OrderedDict[str, float]]] = BoundedMap()
        self._full: Final[BoundedMap[str, bool]] = BoundedMap()
        self._scope: Final[Slot[str]] = Slot(f"identity.{kind}")

    def scope_of(self, exchange: Exchange) -> str | None:
        scope = self._scope.get(exchange)
        if scope is None and (scope := self._find(exchange)) is not None:
            self._scope.set(exchange, scope)
        return scope

    def _find(self, exchange: Exchange) -> str | None:
        principal = exchange.principal
        within = "anyone" if principal is None else f"key/{quote(principal.key_id, safe='')}"
        for source in self._sources:
            if (name := source.read(exchange)) is not None:
                digest = sha256(name.encode()).hexdigest()[:_DIGEST]
                has_room = self._has_room(within, digest, exchange.clock())
                return f"{within}/{self._kind}/{digest if has_room else OTHERS}"
        if self._missing == "refuse":
            raise self._nobody()
        return f"{within}/{self._kind}/{UNNAMED}" if self._missing == "share" else None

    def _has_room(self, within: str, digest: str, now: float) -> bool:
        """Whether the name has a scope of its own. One that has had no request for a while makes room for another."""
        seen = self._seen_by_key.get(within)
        if seen is None:
            seen = self._seen_by_key[within] = OrderedDict()
        if digest not in seen:
            self._forget_idle(seen, now)
            if len(seen) >= self._most:
                self._tell_once(within)
                return False
        seen[digest] = now
        seen.move_to_end(digest)
        return True

    def _forget_idle(self, own: OrderedDict[str, float], now: float) -> None:
        """A few names of this key, and of one other by turns: more than are added, so that what nobody names any more
        takes no memory, in however many keys.
        """
        other_key, other = next(iter(self._seen_by_key.items()))
        self._seen_by_key.move_to_end(other_key)
        for seen in (own, other):
            for _ in range(_FORGOTTEN_AT_ONCE):
                if not seen or next(iter(seen.values())) + self._seconds > now:
                    break
                seen.popitem(last=False)
        if not other and other is not own:
            del self._seen_by_key[other_key]

    def _tell_once(self, within: str) -> None:
        if within not in self._full:
            self._full[within] = True
            logger.warning(
                "%s names more than %d %ss: further ones share one scope (limits.identity.max_per_key)",
                within,
                self._most,
                self._kind,
            )

    def _nobody(self) -> GatewayError:
        places = " or ".join(
            f"the header '{source}'" if source.where == "header" else f"'{source}'" for source in self._sources
        )
        message = f"Missing required parameter: the {self._kind} of the request, in {places}."
        return _refused(self._sources[-1], message, "missing_required_parameter")
