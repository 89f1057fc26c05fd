"""StoredResponses, ResponseAccess, MessageThreads: what a provider keeps of an answer is its client's alone.

Responses are kept by their provider, for the account of the gateway. A client that knew the id of another one's
response could read it, go on from it, or delete it. So clients know signed ids (`core/response_ids.py`), and requests
below `/v1/responses/{id}` are for the key alone that made the response.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from crplugins.core.body import Body
from crplugins.core.errors import GatewayError, invalid_url, previous_response_not_found, response_not_found
from crplugins.core.exchange import Exchange, Slot
from crplugins.core.plugin import Plugin
from crplugins.core.response_ids import HERE, Kept, ResponseIds, ResponsesPlace
from crplugins.core.sse import Event

_NAMED: Final[Slot[Kept]] = Slot("responses.named")
"""The response that the request is about, or goes on from."""

_SHOWN: Final[Slot[str]] = Slot("responses.shown")
"""The client's id of it."""


class _BoundIds(Plugin):
    """Puts signed ids in the place of the provider's, in answers and in each of their events."""

    rewrites_events = True

    def __init__(self, ids: ResponseIds) -> None:
        self._ids = ids

    def on_event(self, exchange: Exchange, event: Event) -> Event:
        data, place = event.data, exchange.kept_at
        if data is None or place is None:
            return event
        if (exchange.status or 0) >= 400 or (event.answer is not None and event.answer.error is not None):
            return self._without_ids(exchange, event, data)
        if event.document:
            body = Body.of_answer(data)
            return event.with_data(body.raw, event.answer) if self._rename(exchange, body, place) else event
        if _RESPONSE not in data:
            return event
        body = Body.of_answer(data)
        inner = body.bytes_of("response")
        if inner is None or inner[:1] != b"{":
            return event
        response = Body.of_answer(inner)
        if not self._rename(exchange, response, place):
            return event
        body.set("response", msgspec.Raw(response.raw))
        return event.with_data(body.raw, event.answer)

    def _rename(self, exchange: Exchange, response: Body, place: ResponsesPlace) -> bool:
        """Put the client's ids into a response. False if there is none in it."""
        known = {} if (named := _NAMED.get(exchange)) is None else {named.id: _SHOWN.get(exchange)}
        found = False
        for name in ("id", "previous_response_id"):
            if own := response.get(name, str):
                if name == "id" and response.get("object", str) not in _WITH_AN_ID:
                    continue
                response.set(name, known.get(own) or self._ids.shown(Kept(own, place), _key_id(exchange)))
                found = True
        return found

    def _without_ids(self, exchange: Exchange, event: Event, data: bytes) -> Event:
        """A refusal, which may repeat the id that its provider knows."""
        named, shown = _NAMED.get(exchange), _SHOWN.get(exchange)
        if named is None or shown is None or named.id.encode() not in data:
            return event
        return event.with_data(data.replace(named.id.encode(), shown.encode()), event.answer)

    def _read(self, exchange: Exchange, shown: str) -> Kept | None:
        """The response that the client means, if that is its own. From now on its id is the client's again."""
        kept = self._ids.read(shown, _key_id(exchange))
        if kept is not None:
            _NAMED.set(exchange, kept)
            _SHOWN.set(exchange, shown)
            exchange.kept_at = kept.place
        return kept


class StoredResponses(_BoundIds):
    """Binds each response to the key that makes it, by its id, and reads the id of the one that it goes on from.

    As `previous_response_id`, an id of another key or of nobody is 400 in OpenAI's words. A conversation, which lives
    at the provider under an id that nobody here has given, is refused.

    Args:
        ids: makes and reads the ids.
        here: where the app inside keeps its responses; None where handlers of ours say it, each for its provider.
        background: whether somebody waits for the ends of answers in the background. Else they are refused: they end
            when nobody is there to count them.
    """

    reads_body = True
    dialects = frozenset({"responses", "compact"})

    def __init__(self, ids: ResponseIds, *, here: ResponsesPlace | None = HERE, background: bool = False) -> None:
        super().__init__(ids)
        self._here = here
        self._background = background

    def on_request(self, exchange: Exchange) -> None:
        body = exchange.body
        assert body is not None, "reads_body"
        exchange.kept_at = self._here
        for name, why in _REFUSED.items():
            if name in body and (given := body.get(name)) not in (None, False):
                if name == "background" and given is True and self._background:
                    continue
                raise GatewayError(400, why, param=name, code="unsupported_parameter")
        previous = body.get("previous_response_id")
        if previous is None:
            return
        kept = self._read(exchange, previous) if isinstance(previous, str) else None
        if kept is None:
            raise previous_response_not_found(previous)
        body.set("previous_response_id", kept.id)


class ResponseAccess(_BoundIds):
    """Lets a request about a response, `/v1/responses/{id}` and what is below, through to the key that made it.

    To anybody else, and for an id of nobody, it is 404 in OpenAI's words.
    """

    dialects = frozenset[str]()
    stored_answers = True

    def on_request(self, exchange: Exchange) -> None:
        before, _, rest = exchange.path.rpartition("/responses/")
        shown, slash, below = rest.partition("/")
        kept = self._read(exchange, shown)
        if kept is None:
            is_another = exchange.method == "POST" and not slash  # `compact`, `input_tokens`: no id, and not served
            raise invalid_url("POST", exchange.path) if is_another else response_not_found(shown)
        exchange.inner_path = f"{before}/responses/{kept.id}{slash}{below}"


class MessageThreads(Plugin):
    """Refuses requests in Messages that would have a conversation kept, in Anthropic's words.

    With `thread` (a beta, which Anthropic's SDKs use in their loops of tools) a request goes on with a conversation by
    the id of a message. One client could go on with another's so; and a model behind another provider, or in another
    account, would answer what it has not been told. For this refusal the SDKs send the whole conversation.
    """

    reads_body = True
    dialects = frozenset({"messages"})

    def on_request(self, exchange: Exchange) -> None:
        body = exchange.body
        assert body is not None, "reads_body"
        if _THREAD in body and body.get(_THREAD) is not None:
            raise GatewayError(
                400,
                "Conversations are not kept for single API keys here. Please send all messages, without 'thread'.",
                param=_THREAD,
                code="thread_unsupported_request",
            )


_THREAD: Final = "thread"
_RESPONSE: Final = b'"response"'
_WITH_AN_ID: Final = (None, "response", "response.deleted")
"""The objects whose `id` is that of a response."""

_REFUSED: Final[Mapping[str, str]] = {
    "conversation": "Conversations are not kept for single API keys here. Please use 'previous_response_id' instead.",
    "background": "Responses in the background are not available here. Please stream the response instead.",
}


def _key_id(exchange: Exchange) -> str:
    return "" if exchange.principal is None else exchange.principal.key_id
