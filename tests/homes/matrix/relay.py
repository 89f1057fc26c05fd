"""A host's own application: asks the provider, and hands on what it says."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp

from tests.homes.matrix.words import UPSTREAM_KEY

CHAT = "/v1/chat/completions"


@dataclass
class Relayed:
    """The provider's answer. `events` is there for a stream, `body` for anything else."""

    status: int
    body: bytes = b""
    events: AsyncIterator[bytes] | None = None


class Relay:
    """What the applications in `hosts.py` answer with."""

    def __init__(self, base_url: str) -> None:
        self._url = base_url + "/chat/completions"

    async def ask(self, body: bytes) -> Relayed:
        session = aiohttp.ClientSession()
        headers = {"authorization": f"Bearer {UPSTREAM_KEY}", "content-type": "application/json"}
        try:
            response = await session.post(self._url, data=body, headers=headers)
            if response.content_type == "text/event-stream":
                return Relayed(response.status, events=_pieces(session, response))
            answer = Relayed(response.status, await response.read())
        except BaseException:
            await session.close()
            raise
        await session.close()
        return answer


async def _pieces(session: aiohttp.ClientSession, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    async with session, response:
        async for piece in response.content.iter_any():
            yield piece
