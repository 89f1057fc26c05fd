"""Plugin: the hooks of one policy and what it declares to need.

The request goes down the list of plugins, the response comes up it:

    on_request   outside in   may read and edit the body, refuse (GatewayError) or answer (exchange.reply)
    on_response  inside out   status and headers are known, nothing is sent
    on_event     inside out   each server-sent event, or the one JSON document of a plain answer
    on_end       inside out   the stream is complete: events to add before [DONE]
    on_cut       inside out   the stream has broken off: events to add before the error that ends it
    on_ended     inside out   the answer is over, however it ended: await here what settling needs
    on_finish    inside out   exactly once for every plugin whose on_request was entered, whatever happened

and once in the life of a process `on_drain`, when it is told to end. When the configuration is replaced, the new plugin
takes over what the old one knows (`take_over`).

Only overridden hooks are called. A plugin never sees ASGI.
"""

from collections.abc import Awaitable, Iterable
from types import TracebackType
from typing import Self

from crplugins.core.exchange import Exchange, Refusal
from crplugins.core.sse import Event


class Plugin:
    """Base of every plugin; each hook is optional.

    The needs are class attributes; a constructor may take one back that its options make needless.

    Attributes:
        reads_body: `exchange.body` is needed in `on_request`. Without such a plugin the request is not buffered.
        reads_usage: `exchange.usage`, `said` and `finish_reason` are needed when the request is over. The answer is
            read for them, and the body before the app is called, even if no other plugin needs either.
        reads_events: `on_event` only looks. Messages pass as the same objects, at once.
        rewrites_events: `on_event` may change or drop events, `on_end` may add some. Only whole events go out.
        reads_chunks: `on_event` is called for each event of a stream too. Without it, only for the document of a plain
            answer.
        reads_texts: `on_event` is called for each chunk that is a text and nothing else (`event.text`). Without it, not
            for one that differs in its text alone from the chunk before: what was made of that one is made of it too.
        every_path: hooks run for every HTTP request, and not for those alone that ask a model; for a policy that guards
            every path, such as Auth.
        every_websocket: `on_request`, and no other hook, runs for every WebSocket, which is closed if it refuses; for a
            policy of who may come in, such as Auth.
        stored_answers: hooks run for requests about an answer that a provider keeps (`GET /v1/responses/{id}`) as well.
        dialects: the names of the protocols that it understands, for a plugin that reads what a request or an answer
            says by itself; a request in another one passes it by. None where it asks the Exchange alone.
        needs_principal: it does nothing for a request without `exchange.principal`, so a plugin that sets that must
            stand further out. A middleware without one is refused when the app is built.
        observes: a bug in the plugin is logged, counted and muted for the rest of the request. A plugin that decides
            (the default) fails closed: 500, or an error frame once the stream has begun.
    """

    reads_body: bool = False
    reads_usage: bool = False
    reads_events: bool = False
    rewrites_events: bool = False
    reads_chunks: bool = True
    reads_texts: bool = True
    every_path: bool = False
    every_websocket: bool = False
    stored_answers: bool = False
    dialects: frozenset[str] | None = None
    needs_principal: bool = False
    observes: bool = False

    def on_request(self, exchange: Exchange) -> Awaitable[None] | None:
        """Raise `GatewayError` to refuse; set `exchange.reply` to answer without going further in.

        A plain function, or `async def` for one that has to wait.
        """

    def on_response(self, exchange: Exchange) -> None:
        """Change `exchange.response_headers` here."""

    def on_event(self, exchange: Exchange, event: Event) -> Event | None:
        """Return the same object to leave it alone, another to replace it, None to drop it.

        May be called outside of any task, where the server takes pieces at once (`asgi/push.py`).
        """
        return event

    def on_end(self, exchange: Exchange) -> Iterable[Event]:
        """Events to add after the last one; they pass the plugins further out."""
        return ()

    def on_cut(self, exchange: Exchange) -> Iterable[Event]:
        """Events to add before the error that ends a broken stream, such as text that was held back; as in `on_end`."""
        return ()

    def on_refused(self, exchange: Exchange, refusal: Refusal) -> bool:
        """The app refused the request and the client knows nothing yet.

        True, after editing `exchange.body`, has the app called once more. The body must be read (`reads_body`).
        """
        return False

    async def on_ended(self, exchange: Exchange) -> None:
        """The client waits no more. Skipped when the server cancels the request, so nothing may depend on it."""

    def on_finish(self, exchange: Exchange) -> None:
        """Settle. Synchronous, because an await is cancelled again when the client has gone. Must not raise."""

    def on_drain(self) -> None:
        """The process ends as soon as what runs has ended: let nothing more begin or wait. Must not raise.

        `crplugins serve` calls it. No other server tells an app before its last request has ended.
        """

    def take_over(self, previous: Self) -> None:
        """Go on with what `previous`, an instance of the same class, has learned: the configuration is being replaced.

        Called before this plugin opens. Both run until the requests have ended that `previous` has begun, so what they
        share must bear both. A plugin of your own whose entry in `plugins` is unchanged is not made anew at all.
        """

    async def __aenter__(self) -> Self:
        """Open what the plugin owns (connections, files). Runs with the app's start-up."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it. Runs with the app's shutdown."""

    @property
    def name(self) -> str:
        return type(self).__name__
