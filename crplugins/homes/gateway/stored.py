"""StoredEndpoint: the ASGI endpoint of requests about answers that a provider keeps."""

from collections.abc import Callable, Mapping
from typing import Final

from starlette.types import Receive, Scope, Send

from crplugins.asgi.disconnect import CancelOnDisconnect
from crplugins.asgi.push import find_push
from crplugins.asgi.scope import find_exchange
from crplugins.asgi.sending import send_reply
from crplugins.core.errors import GatewayError, internal_error, invalid_url, wrong_method
from crplugins.core.exchange import Exchange
from crplugins.core.response_ids import ResponsesPlace
from crplugins.handlers.background import BackgroundResponses
from crplugins.handlers.handler import Keeper

_METHODS: Final[Mapping[str, tuple[str, ...]]] = {"": ("GET", "DELETE"), "cancel": ("POST",), "input_items": ("GET",)}
"""By what stands behind the id."""


class StoredEndpoint:
    """Sends a request on to where the answer is kept that it is about, and what comes back to the client.

    StoredResponses has found out where that is, and has put the provider's id into the path.

    Args:
        background: is told what the client is told, of a response whose end is waited for.
    """

    def __init__(
        self, find: Callable[[ResponsesPlace], Keeper | None], background: BackgroundResponses | None = None
    ) -> None:
        self._find = find
        self._background = BackgroundResponses() if background is None else background

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = find_exchange(scope)
        assert exchange is not None, "StoredResponses has let it through"
        assert exchange.kept_at is not None, "likewise"
        below = scope["path"].rpartition("/responses/")[2]
        allowed = _METHODS.get(below.partition("/")[2])
        if allowed is None:
            raise invalid_url(exchange.method, exchange.path)
        if exchange.method not in allowed:
            raise wrong_method(exchange.method, exchange.path, ", ".join(allowed))
        keeper = self._find(exchange.kept_at)
        if keeper is None:  # between two configurations
            raise internal_error()
        own_id, _, rest = below.partition("/")
        with CancelOnDisconnect(receive):
            if exchange.method == "DELETE":
                await self._background.before_deletion(exchange.kept_at, own_id)
            reply = await keeper.forward(exchange, "/responses/" + below)
            failed = lambda error: _last_frames(exchange, error)  # noqa: E731
            await send_reply(send, reply, failed=failed, find_push=find_push(scope))
            if rest != "input_items":
                told = reply.body if isinstance(reply.body, bytes) else None
                self._background.tell(exchange.kept_at, own_id, told)


def _last_frames(exchange: Exchange, error: Exception) -> bytes:
    failure = error if isinstance(error, GatewayError) else internal_error()
    exchange.failed(failure, in_stream=True)
    return exchange.last_frames(failure)
