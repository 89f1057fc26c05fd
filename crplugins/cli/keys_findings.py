"""What `crplugins keys lint` looks for in keys that could be read."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, Self

from crplugins.cli.keys_strength import weakness
from crplugins.config import Config
from crplugins.core.patterns import Pattern
from crplugins.core.principal import Principal
from crplugins.keys.desk import is_live, spell_moment, state_of
from crplugins.keys.key import Key
from crplugins.plugins.aliases.access import view_for
from crplugins.plugins.aliases.explain import explain
from crplugins.plugins.aliases.table import AliasTable

SOON: Final = timedelta(days=30)
_NEVER: Final = datetime.max.replace(tzinfo=UTC)

Check = Literal["entry", "duplicate", "plaintext", "weak", "ending", "no_live_secret", "models"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found wanting. `place` is file and line, empty for a database; `key_id` empty if it has none."""

    check: Check
    key_id: str
    place: str
    message: str

    def __str__(self) -> str:
        key = f"key '{self.key_id}'" if self.key_id else ""
        return ": ".join(part for part in (self.place, key, self.message) if part)


@dataclass(frozen=True, slots=True)
class Listed:
    """A key where it stands.

    Attributes:
        readable: its secrets that are known as text, also from the environment.
        plain: how many of them stand in the file itself.
    """

    place: str
    key: Key
    readable: tuple[str, ...] = field(default=(), repr=False)
    plain: int = 0

    def finding(self, check: Check, message: str) -> Finding:
        return Finding(check, self.key.id, self.place, message)


@dataclass(frozen=True, slots=True)
class Names:
    """What a configuration serves and under which names."""

    served: tuple[str, ...]
    table: AliasTable

    @classmethod
    def of(cls, config: Config) -> Self:
        served = tuple(entry.model_name for entry in config.model_list)
        return cls(served, AliasTable.parse(config.aliases, config.team_aliases))

    def serve(self, principal: Principal, name: str) -> bool:
        """Whether `name`, of the key's `models` or aliases, leads to a model that is served."""
        if "*" not in name:
            free = dataclasses.replace(principal, models=None)
            return explain(free, name, self.table, served=self.served)[-1].ok
        known = [*map(Pattern.of, self.served), *(entry.pattern for entry in view_for(principal, self.table))]
        return any(pattern.meets(Pattern.of(name)) for pattern in known)


def findings(listed: Sequence[Listed], now: datetime, names: Names | None) -> Iterator[Finding]:
    """What stands twice, then key by key. Without `names` it is not known what is served, and not looked at."""
    yield from _repeated(listed)
    for each in listed:
        yield from _secrets(each)
        yield from _life(each, now)
        if names is not None:
            yield from _models(each, names)


def _repeated(listed: Sequence[Listed]) -> Iterator[Finding]:
    ids: dict[str, Listed] = {}
    digests: dict[bytes, Listed] = {}
    for each in listed:
        if (first := ids.setdefault(each.key.id, each)) is not each:
            yield each.finding("duplicate", f"it has the id of the key in {first.place or 'the database'}")
        owners = [digests.setdefault(secret.digest, each) for secret in each.key.secrets]
        for first in owners:
            if first is not each:
                yield each.finding("duplicate", f"it has a secret of the key in {first.place or 'the database'}")


def _secrets(listed: Listed) -> Iterator[Finding]:
    if listed.plain:
        yield listed.finding("plaintext", "its secret stands in plain text; write a hash or ${NAME} in its place")
    for secret in listed.readable:
        if weak := weakness(secret):
            yield listed.finding("weak", f"its secret {weak}")


def _life(listed: Listed, now: datetime) -> Iterator[Finding]:
    key = listed.key
    state, end = state_of(key, now), _end_of(key, now)
    if state == "revoked":
        yield listed.finding("no_live_secret", "it has no live secret; disable it if that is meant")
    elif state == "expired":
        yield listed.finding("ending", f"it expired on {spell_moment(key.expires)}")
    elif state != "disabled" and end <= now + SOON:
        yield listed.finding("ending", f"it ends on {spell_moment(end)}, in {(end - now).days} days")


def _end_of(key: Key, now: datetime) -> datetime:
    """When the last secret of the key stops working."""
    secrets = [secret.not_after or _NEVER for secret in key.secrets if is_live(secret, now)]
    return min(key.expires or _NEVER, max(secrets, default=now))


def _models(listed: Listed, names: Names) -> Iterator[Finding]:
    principal = listed.key.principal
    own = [alias for alias in principal.aliases if "*" not in alias]
    for name in dict.fromkeys([*(principal.models or ()), *own]):
        if not names.serve(principal, name):
            yield listed.finding("models", f"it may call '{name}', which nobody serves")
