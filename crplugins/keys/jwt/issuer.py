"""Issuer: the key set of an identity provider, fetched when it is needed and no oftener than is polite."""

import logging
import time
from collections.abc import Callable
from typing import Final

from jwt import PyJWK

from crplugins.keys.jwt.fetch import Fetch
from crplugins.keys.jwt.key_set import KeySet
from crplugins.keys.single_flight import SingleFlight
from crplugins.keys.source import SecretRefused, SourceUnavailable

QUIET_SECONDS: Final = 5.0
"""Between two fetches: tokens with made-up key ids must not make us a burden to the issuer."""

logger = logging.getLogger("crplugins.keys")


class Issuer:
    """Keeps the last good key set while the issuer is out of reach.

    Args:
        changed: called when the keys are other ones than before.
        clock: monotonic seconds.
    """

    def __init__(self, fetch: Fetch, changed: Callable[[], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch, self._changed, self._clock = fetch, changed, clock
        self._keys: KeySet | None = None
        self._fetched_at = float("-inf")
        self._problem: str | None = None
        self._flight: SingleFlight[None] = SingleFlight()

    async def key(self, kid: str | None, algorithm: str) -> PyJWK:
        """Fetches the key set again if it has no such key.

        Raises `SecretRefused` if there is none, `SourceUnavailable` if that cannot be told.
        """
        found = self._known(kid, algorithm)
        if found is None:
            await self._refresh_or_join()
            found = self._known(kid, algorithm)
        if found is not None:
            return found
        if self._problem is not None:
            raise SourceUnavailable(self._problem)
        raise SecretRefused("unknown_signer", "This token is signed with a key that its issuer does not publish.")

    async def refresh(self) -> None:
        """Fetch the key set. A failure is kept in mind, and logged when it is a new one."""
        await self._flight.run("fetch", self._fetch_keys)

    async def close(self) -> None:
        await self._flight.close()

    def _known(self, kid: str | None, algorithm: str) -> PyJWK | None:
        return None if self._keys is None else self._keys.find(kid, algorithm)

    async def _refresh_or_join(self) -> None:
        if self._clock() - self._fetched_at >= QUIET_SECONDS:
            await self.refresh()
        else:
            await self._flight.joined("fetch")

    async def _fetch_keys(self) -> None:
        self._fetched_at = self._clock()
        try:
            keys = KeySet(await self._fetch())
        except SourceUnavailable as error:
            self._complain(str(error))
            return
        if self._problem is not None:
            logger.warning("the issuer's keys are there again")
        self._problem = None
        if keys != self._keys:
            self._keys = keys
            self._changed()

    def _complain(self, problem: str) -> None:
        if problem != self._problem:
            logger.error("%s; %s", problem, "the last ones stay" if self._keys else "tokens get 503")
        self._problem = problem
