"""A receiver of webhooks that can be told how to answer."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest


class Heard:
    """An ASGI app that keeps what it is sent. `answers` are statuses, the last one for all that follow."""

    def __init__(self, *answers, headers=(), seconds=0.0):
        self.answers, self.headers, self.seconds = list(answers or [204]), list(headers), seconds
        self.messages = []
        self.arrived = asyncio.Event()

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            event = await receive()
            body, more = body + event["body"], event.get("more_body", False)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.messages.append((headers, body))
        self.arrived.set()
        status = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        await asyncio.sleep(self.seconds)
        await send({"type": "http.response.start", "status": status, "headers": self.headers})
        await send({"type": "http.response.body", "body": b"" if status == 204 else b"{}"})

    @property
    def ids(self):
        return [headers["webhook-id"] for headers, _ in self.messages]

    def events(self):
        """Type and data of each message, in the order of their types."""
        read = [json.loads(body) for _, body in self.messages]
        return sorted(((each["type"], each["data"]) for each in read), key=lambda pair: (pair[0], str(pair[1])))

    async def until(self, count):
        async with asyncio.timeout(30):
            while len(self.messages) < count:
                self.arrived.clear()
                await self.arrived.wait()


@pytest.fixture
def hearing(serve):
    """`async with hearing(503, 204) as (heard, url)`."""

    @asynccontextmanager
    async def hear(*answers, **options):
        heard = Heard(*answers, **options)
        async with serve(heard) as url:
            yield heard, url

    return hear
