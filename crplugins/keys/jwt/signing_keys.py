"""KeySet: the public keys an issuer signs with (RFC 7517)."""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import cryptography  # noqa: F401  # PyJWT can do without, and then has no algorithm of ours
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from crplugins.core.network import Network
from crplugins.core.single_flight import SingleFlight
from crplugins.keys.jwt.settings import FAMILIES
from crplugins.keys.source import SecretRefused, SourceUnavailable

if TYPE_CHECKING:
    import aiohttp


MOST_TRIED: Final = 8
"""Signatures that one token is compared with; an issuer has few keys at a time, and a token costs a comparison each."""


class KeySet:
    """Keys for signatures, by `kid`; shared secrets and keys for encryption are left out.

    Raises `SourceUnavailable` for a document that is no key set.
    """

    def __init__(self, document: bytes) -> None:
        self._keys = [key for key in _listed(document) if _signs(key)]
        self._ready: dict[tuple[str | None, str], Sequence[PyJWK]] = {}

    def find(self, kid: str | None, algorithm: str) -> Sequence[PyJWK]:
        """The keys `kid` for `algorithm`; without a `kid`, all for it, and none if these are too many to be tried.

        Mostly it is one. An issuer that names no keys has two while it changes from one to the next, and a `kid` need
        not be the only one of its name (RFC 7517, section 4.5).
        """
        if (kid, algorithm) not in self._ready:
            if kid is not None and all(key.get("kid") != kid for key in self._keys):
                return ()  # not remembered: anyone can think of any number of these
            self._ready[kid, algorithm] = self._prepared(kid, algorithm)
        return self._ready[kid, algorithm]

    def _prepared(self, kid: str | None, algorithm: str) -> Sequence[PyJWK]:
        fitting = [key for key in self._keys if _fits(key, algorithm) and kid in (None, key.get("kid"))]
        made = [_made(key, algorithm) for key in fitting] if len(fitting) <= MOST_TRIED else []
        return [key for key in made if key is not None]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KeySet) and self._keys == other._keys

    __hash__ = None  # type: ignore[assignment]

    def __len__(self) -> int:
        return len(self._keys)


def _listed(document: bytes) -> Sequence[Mapping[str, Any]]:
    try:
        found = json.loads(document)
    except (ValueError, RecursionError):
        found = None
    keys = found.get("keys") if isinstance(found, Mapping) else None
    if not isinstance(keys, list):
        raise SourceUnavailable("the issuer's keys are not a JWKS document")
    return [_without_nulls(key) for key in keys if isinstance(key, Mapping)]


def _without_nulls(key: Mapping[str, Any]) -> Mapping[str, Any]:
    """Some issuers write null for what they do not say (`"alg": null`)."""
    return {name: value for name, value in key.items() if value is not None}


def _made(key: Mapping[str, Any], algorithm: str) -> PyJWK | None:
    try:
        return PyJWK.from_dict(dict(key), algorithm=algorithm)  # the key's, never what the token's header says
    except (PyJWTError, ValueError, TypeError):  # a key that is none
        return None


def _signs(key: Mapping[str, Any]) -> bool:
    operations = key.get("key_ops")
    return (
        key.get("kty") in FAMILIES.values()
        and key.get("use", "sig") == "sig"
        and (not isinstance(operations, list) or "verify" in operations)
    )


def _fits(key: Mapping[str, Any], algorithm: str) -> bool:
    return key.get("kty") == FAMILIES.get(algorithm) and key.get("alg", algorithm) == algorithm


Fetch = Callable[[], Awaitable[bytes]]

TIMEOUT: Final = 5.0
MAX_BYTES: Final = 1_000_000
ACCEPTED: Final = "application/jwk-set+json, application/json, */*;q=0.1"
"""Kubernetes has the first alone (RFC 7517, section 8.5.2), and answers 406 to who does not accept it."""


def fetcher(location: str) -> Fetch:
    """How to get the document at a URL (http, https) or in a file. The result raises `SourceUnavailable`."""
    if location.startswith(("http://", "https://")):
        return lambda: _from_url(location)
    return lambda: _from_file(Path(location))


async def _from_file(path: Path) -> bytes:
    try:
        return await asyncio.to_thread(path.read_bytes)
    except OSError as error:
        raise SourceUnavailable(f"the keys in {path.name} cannot be read ({error.strerror})") from None


async def _from_url(url: str) -> bytes:
    import aiohttp  # heavy, and not needed for a file

    timeout = aiohttp.ClientTimeout(total=TIMEOUT)
    try:
        network = await asyncio.to_thread(lambda: Network().ready())
        connector = aiohttp.TCPConnector(ssl=network.tls)
        async with (
            aiohttp.ClientSession(connector=connector, proxy=network.proxy(url), timeout=timeout) as session,
            session.get(url, headers={"accept": ACCEPTED}) as response,
        ):
            response.raise_for_status()
            if url.startswith("https://") and any(each.url.scheme != "https" for each in (*response.history, response)):
                raise SourceUnavailable("the issuer's keys are said to be at an address without TLS")
            return await _read(response)
    except ValueError as error:  # of the environment, or a URL that is none
        raise SourceUnavailable(f"the issuer's keys cannot be fetched ({error})") from None
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        reason = f"status {error.status}" if isinstance(error, aiohttp.ClientResponseError) else type(error).__name__
        raise SourceUnavailable(f"the issuer's keys cannot be fetched ({reason})") from None


async def _read(response: "aiohttp.ClientResponse") -> bytes:
    chunks, size = [], 0
    async for chunk in response.content.iter_any():
        chunks.append(chunk)
        size += len(chunk)
        if size > MAX_BYTES:
            raise SourceUnavailable("the issuer's keys are larger than a key set can be")
    return b"".join(chunks)


QUIET_SECONDS: Final = 5.0
"""Between two fetches: tokens with made-up key ids must not make us a burden to the issuer."""

logger = logging.getLogger("crplugins.keys")


class Issuer:
    """Keeps the last good key set while the issuer is unavailable.

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

    async def keys(self, kid: str | None, algorithm: str) -> Sequence[PyJWK]:
        """Those that may have signed, one at least. Fetches the key set again if it has no such key.

        Raises `SecretRefused` if there is none, `SourceUnavailable` if that cannot be told.
        """
        found = self._known(kid, algorithm)
        if not found:
            await self._refresh_or_join()
            found = self._known(kid, algorithm)
        if found:
            return found
        if self._problem is not None:
            raise SourceUnavailable(self._problem)
        raise SecretRefused("unknown_signer", "This token is signed with a key that its issuer does not publish.")

    async def refresh(self) -> None:
        """Fetch the key set. A failure is kept in mind, and logged when it is a new one."""
        await self._flight.run("fetch", self._fetch_keys)

    async def close(self) -> None:
        await self._flight.close()

    def _known(self, kid: str | None, algorithm: str) -> Sequence[PyJWK]:
        return () if self._keys is None else self._keys.find(kid, algorithm)

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
