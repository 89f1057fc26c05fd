"""A host's own application: asks the provider, and hands on what it says."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp

from crplugins.core import dialects
from tests.homes.matrix.words import UPSTREAM_KEY

CHAT = "/v1" + dialects.CHAT.path
PATHS = tuple("/v1" + dialect.path for dialect in dialects.ALL)
"""Where a host asks its provider, each in the protocol that a client speaks."""


@dataclass
class Relayed:
    """The provider's answer. `events` is there for a stream, `body` for anything else, which is of the type `kind`."""

    status: int
    body: bytes = b""
    kind: str = "application/json"
    events: AsyncIterator[bytes] | None = None


class Relay:
    """What the applications in `hosts.py` answer with."""

    def __init__(self, base_url: str) -> None:
        self._url = base_url.removesuffix("/v1")

    async def ask(self, path: str, body: bytes) -> Relayed:
        session = aiohttp.ClientSession()
        headers = {"authorization": f"Bearer {UPSTREAM_KEY}", "content-type": "application/json"}
        if body.startswith(b"--"):
            boundary = body.partition(b"\r\n")[0][2:].decode()
            headers["content-type"] = f"multipart/form-data; boundary={boundary}"
        try:
            response = await session.post(self._url + path, data=body, headers=headers)
            if response.content_type == "text/event-stream":
                return Relayed(response.status, events=_pieces(session, response))
            answer = Relayed(response.status, await response.read(), response.content_type)
        except BaseException:
            await session.close()
            raise
        await session.close()
        return answer


async def _pieces(session: aiohttp.ClientSession, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    async with session, response:
        async for piece in response.content.iter_any():
            yield piece
