"""Unended: an answer on which its provider works on when the client has been answered.

A response in the background is one. Its request is over for the client at once, and for whoever counts it when the
provider has ended: until then limits stay reserved, and no record is written.
"""

from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from crplugins.core.errors import GatewayError
from crplugins.core.lenient_json import NOT_JSON
from crplugins.core.response_ids import ResponsesPlace
from crplugins.core.sse import Event

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")

Conclude = Callable[[bool], Awaitable[None]]
"""Concludes a request. False: nobody knows whether its provider has ended."""


class Unended:
    """What is known of one. Made before the provider is asked, as it may begin before anybody is told.

    Args:
        begin: begins to wait for the end.

    Attributes:
        id: the provider's; "" while it is not known.
        place: where it is kept.
        state: asks the provider for it by its id; None where nobody keeps it.
        failure: what one that has failed tells.
        asked: the request to the provider, where the client has left before its answer.
        over: its provider has told its end.
    """

    __slots__ = ("_begin", "asked", "conclusions", "failure", "id", "over", "place", "state")

    def __init__(self, begin: Callable[["Unended"], None]) -> None:
        self._begin: Callable[[Unended], None] | None = begin
        self.conclusions: Final[list[Conclude]] = []
        self.id = ""
        self.place: ResponsesPlace | None = None
        self.state: Callable[[str], Awaitable[Event]] | None = None
        self.failure: Callable[[Event], GatewayError] | None = None
        self.asked: asyncio.Future[Any] | None = None
        self.over = False

    @property
    def goes_on(self) -> bool:
        """Whether its end is waited for."""
        known = bool(self.id) or self.asked is not None
        return self.state is not None and known and not self.over

    def kept(
        self,
        place: ResponsesPlace,
        state: Callable[[str], Awaitable[Event]],
        failure: Callable[[Event], GatewayError],
    ) -> None:
        """Who is asked for it now keeps it there."""
        self.place, self.state, self.failure = place, state, failure

    def note(self, event: Event) -> None:
        """A document or an event of the answer has come."""
        if not self.id and event.data is not None:
            self.id = _id_in(event.data)
        self.over = self.over or has_ended(event)

    async def outlive(self, asking: Coroutine[Any, Any, T]) -> T:
        """The result of `asking`, which goes on where its client leaves: the provider works on as well."""
        import asyncio  # authors' names load without it

        task = asyncio.ensure_future(asking)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.cancelled():
                self.asked = task
            raise

    def conclude_later(self, conclude: Conclude) -> None:
        """Await `conclude`, once, when the provider has ended. Of several boundaries the inner ones come first."""
        if conclude not in self.conclusions:
            self.conclusions.append(conclude)
        if self._begin is not None:
            begin, self._begin = self._begin, None
            begin(self)


def has_ended(event: Event) -> bool:
    """Whether a whole response, or an event of one, says that its provider has ended."""
    answer = event.answer
    if answer is None:
        return False
    if not event.document:
        return answer.ends
    return answer.error is not None or any(choice.finish_reason for choice in answer.choices or ())


class _Named(msgspec.Struct):
    id: str | None = None


class _Response(_Named):
    response: _Named | None = None


_response: Final = msgspec.json.Decoder(_Response)


def _id_in(data: bytes) -> str:
    try:
        told = _response.decode(data)
    except NOT_JSON:
        return ""
    return (told.id if told.response is None else told.response.id) or ""
