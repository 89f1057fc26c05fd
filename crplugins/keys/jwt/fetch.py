"""Fetches a JWKS document, off the event loop's way."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from crplugins.keys.source import SourceUnavailable

if TYPE_CHECKING:
    import aiohttp

Fetch = Callable[[], Awaitable[bytes]]

TIMEOUT: Final = 5.0
MAX_BYTES: Final = 1_000_000


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
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=True) as session,
            session.get(url, headers={"accept": "application/json"}) as response,
        ):
            response.raise_for_status()
            return await _read(response)
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
