"""A gateway in front of the scripted provider, both on real sockets."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from crplugins.homes.gateway.app import Gateway
from crplugins.testing import FakeProvider

CLIENT_KEY = "sk-client-key-0123456789"
UPSTREAM_KEY = "sk-upstream-key-9876543210"
HELLO = [{"role": "user", "content": "hi"}]


@dataclass
class Answered:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass
class Setup:
    provider: FakeProvider
    url: str
    session: aiohttp.ClientSession
    headers: dict[str, str] = field(default_factory=lambda: {"authorization": f"Bearer {CLIENT_KEY}"})

    def open(self, data: bytes | None = None, **body: Any) -> Any:
        """The response as an async context manager, for tests that read it piece by piece."""
        payload = {"data": data} if data is not None else {"json": {"model": "m", "messages": HELLO, **body}}
        headers = self.headers | {"content-type": "application/json"}
        return self.session.post(self.url + "/v1/chat/completions", headers=headers, **payload)

    async def post(self, data: bytes | None = None, **body: Any) -> Answered:
        async with self.open(data, **body) as response:
            headers = {k.lower(): v for k, v in response.headers.items()}
            return Answered(response.status, headers, await response.read())


Behind = Callable[..., AbstractAsyncContextManager[Setup]]


def behind(serve: Any) -> Behind:
    """`async with start(provider) as gateway:` serves the models `m` and `replay-*` from `provider`.

    What the provider answers is what the client gets: nothing is retried.
    """

    @asynccontextmanager
    async def start(
        provider: FakeProvider | None = None,
        *,
        handler: str = "direct",
        prefix: str = "openai",
        server: dict[str, Any] | None = None,
        **params: Any,
    ) -> AsyncIterator[Setup]:
        async with AsyncExitStack() as stack:
            provider = provider or await stack.enter_async_context(FakeProvider())
            base = {"api_base": provider.base_url, "api_key": UPSTREAM_KEY, "num_retries": 0, **params}
            models = [
                {"model_name": name, "litellm_params": {"model": f"{prefix}/{model}", **base}, "handler": handler}
                for name, model in (("m", "upstream-model"), ("replay-*", "replay-*"))
            ]
            keys = [{"id": "team-a", "secret": CLIENT_KEY}]
            # The provider's own name for the model, so that the bytes are the provider's too.
            app = Gateway(model_list=models, keys=keys, server=server, response_model="served")
            url = await stack.enter_async_context(serve(app))
            session = await stack.enter_async_context(aiohttp.ClientSession())
            yield Setup(provider, url, session)

    return start
