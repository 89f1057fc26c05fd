"""KeyDesk: what can be done with keys, for the command line and the admin API alike."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from crplugins.keys.entry import EntryReader
from crplugins.keys.key import Key, utc_now
from crplugins.keys.mint import mint_secret
from crplugins.keys.policy import POLICY_KEYS
from crplugins.keys.store import KeyStore
from crplugins.keys.words import WordProblem, WordsRefused

NEW_KEYS: Final = (*POLICY_KEYS, "not_before", "expires", "disabled")
"""What a new key may be given; its secret is made here."""

DEFAULT_OVERLAP: Final = timedelta(hours=24)
LONGEST_OVERLAP: Final = timedelta(days=366)


@dataclass(frozen=True, slots=True)
class Minted:
    """A key and the secret just made for it, which is kept nowhere else."""

    key: Key
    secret: str = field(repr=False)


class KeyDesk:
    """Makes, changes and shows the keys of an open store. Every method passes on the store's exceptions.

    Args:
        now: the wall clock.
        mint: makes secrets.
    """

    def __init__(
        self, store: KeyStore, *, now: Callable[[], datetime] = utc_now, mint: Callable[[], str] = mint_secret
    ) -> None:
        self.store: Final = store
        self.now: Final = now
        self._mint = mint

    async def list(self) -> Sequence[Key]:
        return await self.store.list()

    async def get(self, key_id: str) -> Key:
        return await self.store.get(key_id)

    async def new(self, words: Mapping[str, Any]) -> Minted:
        """A key as `words` (of `NEW_KEYS`) describe it. Raises `WordsRefused`."""
        refused = [WordProblem((name,), "cannot be given to a new key") for name in words if name not in NEW_KEYS]
        if refused:
            raise WordsRefused(refused)
        secret = self._mint()
        return Minted(await self.take({**words, "secret": secret}), secret)

    async def take(self, words: Mapping[str, Any]) -> Key:
        """A key of another system: `words` hold its `secret` or `hash` too. Raises `WordsRefused`."""
        now = self.now()
        reader = EntryReader(self.store.digester)
        key = reader.key({"created_at": now, **words}, ())
        problems = reader.problems or list(_never_valid(key, now))
        if problems:
            raise WordsRefused(problems)
        await self.store.add(key)
        return key

    async def rotate(self, key_id: str, overlap: timedelta) -> Minted:
        """One more secret; the older ones end `overlap` from now."""
        secret, now = self._mint(), self.now()
        return Minted(await self.store.rotate(key_id, self.store.digester.stored(secret, now), overlap, now), secret)

    async def revoke(self, key_id: str) -> Key:
        return await self.store.revoke(key_id, self.now())

    async def set_disabled(self, key_id: str, *, disabled: bool) -> Key:
        return await self.store.set_disabled(key_id, disabled=disabled)


def _never_valid(key: Key, now: datetime) -> Sequence[WordProblem]:
    if key.expires is None:
        return ()
    if key.expires <= now:
        return [WordProblem(("expires",), "has passed already")]
    if key.not_before is not None and key.expires <= key.not_before:
        return [WordProblem(("expires",), "is not after not_before")]
    return ()
