"""KeyService: what can be done with keys, for the command line and the admin API alike."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from msgspec.structs import replace

from crplugins.keys.entry import KeyEntry, NewKey, Reading, key_to_dict
from crplugins.keys.key import LONG_AGO, Key, SecretDigest, utc_now
from crplugins.keys.policy import POLICY_KEYS, Amounts, BudgetSection, policy_to_dict
from crplugins.keys.secrets import mint_secret
from crplugins.keys.store import ChangeRefused, KeyStore
from crplugins.settings.errors import ConfigError, KeyPath, Problem, did_you_mean
from crplugins.settings.section import Section, read_section

_NOT_FOR_NEW: Final = KeyEntry.known_keys() - NewKey.known_keys()

DEFAULT_OVERLAP: Final = timedelta(hours=24)
LONGEST_OVERLAP: Final = timedelta(days=366)


@dataclass(frozen=True, slots=True)
class Minted:
    """A key and the secret just made for it, which is kept nowhere else."""

    key: Key
    secret: str = field(repr=False)


class KeyService:
    """Makes, changes and shows the keys of an open store. Every method passes on the store's exceptions.

    Args:
        now: the wall clock.
        mint: makes secrets.
    """

    def __init__(
        self, store: KeyStore, *, now: Callable[[], datetime] = utc_now, mint: Callable[[], str] = mint_secret
    ) -> None:
        for section in (NewKey, KeyEntry):
            section.prepare()
        self.store: Final = store
        self.now: Final = now
        self._mint = mint

    async def list(self) -> Sequence[Key]:
        return await self.store.list()

    async def get(self, key_id: str) -> Key:
        return await self.store.get(key_id)

    async def new(self, words: Mapping[str, Any]) -> Minted:
        """A key as `words` describe it, which are a `NewKey`. Raises `ConfigError`."""
        refused = [Problem((name,), "cannot be given to a new key") for name in words if name in _NOT_FOR_NEW]
        if refused:
            raise ConfigError(refused)
        read_section(NewKey, words)
        secret = self._mint()
        return Minted(await self.take({**words, "secret": secret}), secret)

    async def take(self, words: Mapping[str, Any]) -> Key:
        """A key of another system: `words` hold its `secret` or `hash` too. Raises `ConfigError`."""
        now = self.now()
        digester = self.store.digester
        key = read_section(KeyEntry, {"created_at": now, **words}, context=Reading(digester)).key(digester)
        if problems := _never_valid(key, now):
            raise ConfigError(problems)
        await self.store.add(key)
        return key

    async def update(self, key_id: str, patch: Mapping[str, Any]) -> Key:
        """The key with `patch` in its words, as RFC 7396 merges JSON: null takes a word away, a mapping is merged.

        `patch` holds words of a `NewKey` but for its id, which is the key's name for good. Raises `ConfigError`.
        """
        refused = [Problem((name,), "cannot be changed") for name in patch if name == "id" or name in _NOT_FOR_NEW]
        if problems := refused or [*_unknown(patch, NewKey)]:
            raise ConfigError(problems)
        now = self.now()

        def changed(key: Key) -> Key:
            try:
                after = _patched(key, patch)
            except ConfigError as error:
                raise ChangeRefused(error.problems) from None
            if patch.keys() & {"expires", "not_before"} and (problems := _never_valid(after, now)):
                raise ChangeRefused(problems)
            return after

        return await self.store.update(key_id, changed)

    async def delete(self, key_id: str) -> None:
        await self.store.delete(key_id)

    async def rotate(self, key_id: str, overlap: timedelta) -> Minted:
        """One more secret; the older ones end `overlap` from now."""
        secret, now = self._mint(), self.now()
        return Minted(await self.store.rotate(key_id, self.store.digester.stored(secret, now), overlap, now), secret)

    async def revoke(self, key_id: str) -> Key:
        return await self.store.revoke(key_id, self.now())

    async def set_disabled(self, key_id: str, *, disabled: bool) -> Key:
        return await self.store.set_disabled(key_id, disabled=disabled)


_MERGED: Final[Mapping[str, type[Section]]] = {"limits": Amounts, "budget": BudgetSection}


def _unknown(patch: Mapping[str, Any], section: type[Section], path: KeyPath = ()) -> Iterator[Problem]:
    """What a patch would take away though nothing has such a name; what it would set, `section` itself refuses."""
    for name, value in patch.items():
        if value is None and name not in section.known_keys():
            yield Problem((*path, name), f"is not known here{did_you_mean(name, section.known_keys())}")
        elif name in _MERGED and isinstance(value, Mapping):
            yield from _unknown(value, _MERGED[name], (*path, name))


def _patched(key: Key, patch: Mapping[str, Any]) -> Key:
    words = {name: word for name, word in key_to_dict(key).items() if name in NewKey.known_keys()}
    made = read_section(NewKey, _merged(words, patch))
    return replace(
        key,
        principal=made.principal(),
        not_before=made.not_before,
        expires=made.expires,
        disabled=made.disabled,
    )


def _merged(words: Any, patch: Any) -> Any:
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(words) if isinstance(words, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merged(merged.get(name), value)
    return merged


def _never_valid(key: Key, now: datetime) -> Sequence[Problem]:
    if key.expires is None:
        return ()
    if key.expires <= now:
        return [Problem(("expires",), "has passed already")]
    if key.not_before is not None and key.expires <= key.not_before:
        return [Problem(("expires",), "is not after not_before")]
    return ()


State = Literal["live", "disabled", "revoked", "expired", "not yet valid"]
"""What a client with the key's newest secret meets; in the order Auth looks at it. `revoked`: no secret lives."""


def state_of(key: Key, now: datetime) -> State:
    if key.disabled:
        return "disabled"
    if not any(is_live(secret, now) for secret in key.secrets):
        return "revoked"
    if key.expires is not None and key.expires <= now:
        return "expired"
    if key.not_before is not None and now < key.not_before:
        return "not yet valid"
    return "live"


def is_live(secret: SecretDigest, now: datetime) -> bool:
    return secret.not_after is None or now < secret.not_after


def key_to_public_dict(key: Key, now: datetime) -> dict[str, Any]:
    """Plain data: every key of the policy, None (or `{}`) where it is not set; times in ISO 8601 and UTC."""
    empty: dict[str, Any] = {name: {} if name in ("tags", "aliases", "limits") else None for name in POLICY_KEYS}
    return {
        **empty,
        **policy_to_dict(key.principal),
        "models_shadow": key.principal.models_shadow,
        "admin": key.principal.admin,
        "priority": key.principal.priority,
        "weight": key.principal.weight,
        "state": state_of(key, now),
        "created_at": format_moment(key.created_at),
        "not_before": format_moment(key.not_before),
        "expires": format_moment(key.expires),
        "disabled": key.disabled,
        "secrets": [_secret(secret, now) for secret in key.secrets],
    }


def format_moment(moment: datetime | None) -> str | None:
    """`2027-01-01T00:00:00Z`; None for no time and for the one that stands for an unknown one."""
    if moment is None or moment == LONG_AGO:
        return None
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _secret(secret: SecretDigest, now: datetime) -> dict[str, Any]:
    return {
        "hint": secret.hint,
        "created_at": format_moment(secret.created_at),
        "not_after": format_moment(secret.not_after),
        "live": is_live(secret, now),
    }
