"""KeyService: what can be done with keys, for the command line and the admin API alike."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from msgspec.structs import replace

from crplugins.keys.audit import Action, AuditEntry, AuditQuestion, Author, os_actor
from crplugins.keys.entry import KeyEntry, NewKey, Reading, key_to_dict
from crplugins.keys.key import Key, utc_now
from crplugins.keys.policy import Amounts, BudgetSection
from crplugins.keys.secrets import mint_secret
from crplugins.keys.store import ChangeRefused, KeyStore
from crplugins.settings.errors import ConfigError, KeyPath, Problem, did_you_mean
from crplugins.settings.reading import read_section
from crplugins.settings.section import Section

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
        author: who makes the changes, for the audit log; None for this process.
    """

    def __init__(
        self,
        store: KeyStore,
        *,
        now: Callable[[], datetime] = utc_now,
        mint: Callable[[], str] = mint_secret,
        author: Author | None = None,
    ) -> None:
        for section in (NewKey, KeyEntry):
            section.prepare()
        self.store: Final = store
        self.now: Final = now
        self._mint = mint
        self._author: Final = Author(os_actor(), now=now) if author is None else author

    def acting_for(self, author: Author) -> "KeyService":
        """The same service for another author."""
        return KeyService(self.store, now=self.now, mint=self._mint, author=author)

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
        return Minted(await self._add({**words, "secret": secret}, "new"), secret)

    async def take(self, words: Mapping[str, Any]) -> Key:
        """A key of another system: `words` hold its `secret` or `hash` too. Raises `ConfigError`."""
        return await self._add(words, "import")

    async def _add(self, words: Mapping[str, Any], action: Action) -> Key:
        now = self.now()
        digester = self.store.digester
        key = read_section(KeyEntry, {"created_at": now, **words}, context=Reading(digester)).key(digester)
        if problems := _never_valid(key, now):
            raise ConfigError(problems)
        await self.store.add(key, action=action, author=self._author)
        return key

    async def update(self, key_id: str, patch: Mapping[str, Any]) -> Key:
        """The key with `patch` in its words, as RFC 7396 merges JSON: null takes a word away, a mapping is merged.

        `patch` holds words of a `NewKey` but for its id, which cannot be changed. Raises `ConfigError`.
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

        return await self.store.update(key_id, changed, author=self._author)

    async def delete(self, key_id: str) -> None:
        await self.store.delete(key_id, author=self._author)

    async def rotate(self, key_id: str, overlap: timedelta) -> Minted:
        """One more secret; the older ones end `overlap` from now."""
        secret, now = self._mint(), self.now()
        digest = self.store.digester.stored(secret, now)
        return Minted(await self.store.rotate(key_id, digest, overlap, now, author=self._author), secret)

    async def revoke(self, key_id: str) -> Key:
        return await self.store.revoke(key_id, self.now(), author=self._author)

    async def set_disabled(self, key_id: str, *, disabled: bool) -> Key:
        return await self.store.set_disabled(key_id, disabled=disabled, author=self._author)

    async def audit(self, question: AuditQuestion) -> Sequence[AuditEntry]:
        """What was changed, the newest first."""
        return await self.store.audit(question)


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
