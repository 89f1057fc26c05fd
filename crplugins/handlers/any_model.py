"""AnyModel: a wildcard at OpenAI (`openai/*`), some of whose models are served in Responses alone."""

import asyncio
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Final, Self

from crplugins.core.body import Body
from crplugins.core.daemon_thread import in_daemon_thread
from crplugins.core.dialects import CHAT
from crplugins.core.exchange import Exchange, Reply
from crplugins.core.network import Network
from crplugins.core.waiting import stopped
from crplugins.handlers.deployment import Deployment
from crplugins.handlers.direct import DirectHandler
from crplugins.handlers.handler import Handler
from crplugins.handlers.loading import Loading
from crplugins.handlers.upstream import Upstream, in_responses, is_responses_alone


class AnyModel(DirectHandler):
    """Asks OpenAI as the direct handler does, but that a chat with a model which it serves in Responses alone is
    written as Responses by litellm. That is imported for the first of them."""

    def __init__(self, deployment: Deployment, upstream: Upstream, network: Network | None = None) -> None:
        super().__init__(deployment, upstream, network)
        self._wildcard: Final = deployment
        self._pattern: Final = upstream.model
        self._translating: Loading | None = None
        self._loader: asyncio.Task[None] | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await stopped(self._loader)
        await self._stack.aclose()
        await super().__aexit__(kind, error, traceback)

    async def answer(self, exchange: Exchange, body: Body) -> Reply:
        dialect = exchange.upstream_dialect
        requested = body.get("model", str) or ""
        if dialect is CHAT and is_responses_alone(self._wildcard.model_for(requested, self._pattern)):
            return await self._translator().answer(exchange, body)
        return await super().answer(exchange, body)

    def _translator(self) -> Loading:
        if self._translating is None:
            self._translating = Loading(self._wildcard)
            self._loader = asyncio.create_task(self._load(self._translating))
        return self._translating

    async def _load(self, waiting: Loading) -> None:
        try:
            made = await in_daemon_thread(_translator_of, self._wildcard)
            waiting.done(await self._stack.enter_async_context(made))
        except Exception as error:
            self._translating = None  # the next request tries it again
            waiting.failed(error)


def _translator_of(deployment: Deployment) -> Handler:
    from crplugins.handlers.litellm.handler import LitellmHandler

    return LitellmHandler(in_responses(deployment))
