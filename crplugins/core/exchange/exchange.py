"""Exchange: the typed facts of one request, shared by every boundary and plugin it passes."""

from typing import TYPE_CHECKING

import msgspec

from crplugins.core.dialects import Dialect
from crplugins.core.errors import ErrorObject, GatewayError, Header
from crplugins.core.exchange.account import Account
from crplugins.core.exchange.attempt import FallbackReason, RescueKind
from crplugins.core.exchange.reply import Reply
from crplugins.core.outcome import OUTCOMES, ErrorType, answered_with
from crplugins.core.response_ids import ResponsesPlace
from crplugins.core.unended import Unended
from crplugins.core.usage import TokenUsage

if TYPE_CHECKING:
    from crplugins.core.repeated_chunk import RepeatedChunk
    from crplugins.core.sse import Event


class Exchange(Account):
    """One request, from its first byte to its record: what it asks is in `RequestSide`, what its answer has used in
    `Account`, and here what becomes of it.

    Attributes:
        translated_into: the protocol in which the deployment is asked that is asked now, where it is another one.
        reply: the answer of a plugin, in the place of the app's.
        status: what the client saw; 499 when it left before the first byte.
        error: the refusal we rendered.
        can_fail_over: another deployment can be asked if the one that is asked now says nothing. Whoever chooses among
            them sets it.
        split: bytes of the answer that a handler has split already, and the events in them. A reader further out that
            is given this very object need not split and decode it again.
        repeated: the chunk of the answer that has passed last, where a handler may hand on what repeats it unsplit. Who
            reads further out sets it, and whoever splits what comes next takes it back.
        client_gone: the client has disconnected, and the remaining answer is read for its usage.
        received: the client has been sent the end mark of a stream. Most clients disconnect then, without waiting for
            the end of the response.
        fallbacks: why it was sent to other models, one reason for each of them.
        rescues: how often another deployment took over a stream that had broken.
        kept_at: where its provider keeps the answer, or the one that the request is about; None for nowhere.
        unended: the answer, where its provider may work on it when the client has been answered; None elsewhere.
        boundaries: those of ours that the request is in now, outermost first, where it is in more than one.
        heard_in: which of them tells what the answer says. Each event is kept once, however many it passes.
    """

    translated_into: Dialect | None = None
    reply: Reply | None = None
    status: int | None = None
    response_headers: list[Header] = msgspec.field(default_factory=list)
    error: ErrorObject | None = None
    error_type: ErrorType = ""
    client_gone: bool = False
    received: bool = False
    can_fail_over: bool = False
    split: "tuple[bytes, list[Event]] | None" = None
    repeated: "RepeatedChunk | None" = None
    fallbacks: tuple[FallbackReason, ...] = ()
    rescues: tuple[RescueKind, ...] = ()
    kept_at: ResponsesPlace | None = None
    unended: Unended | None = None
    boundaries: tuple[object, ...] = ()
    heard_in: object = None

    @property
    def upstream_dialect(self) -> Dialect:
        """The protocol in which the deployment is asked that is asked now, and in which it answers."""
        return self.translated_into or self.dialect

    @property
    def goes_on(self) -> bool:
        """Whether the provider works on when the client has been answered."""
        return self.unended is not None and self.unended.goes_on

    def answered_from_cache(self, reply: Reply | None = None) -> None:
        """No provider works for this answer: it costs nothing, and counts as a request alone.

        For a plugin that answers by itself, which gives its `reply`; or for one that sees that the app inside has
        answered so. Before the answer ends.
        """
        self.from_cache = True
        if reply is not None:
            self.reply = reply

    def failed(self, error: GatewayError, *, in_stream: bool = False) -> None:
        """The answer is, or with `in_stream` ends with, `error`."""
        self.error, self.error_type = error.error, error.error_type
        self.failed_in_stream = self.failed_in_stream or in_stream

    def responded(self, status: int) -> None:
        """The answer begins with this status."""
        self.status = status
        if self.timings.response is None:
            self.timings.response = self.clock()

    def concluded(self, status: int | None, *, left: bool, complete: bool) -> None:
        """The request is over. `status` is None if no answer began. `Run.conclude` alone calls this."""
        answered = status is not None or self.timings.response is not None
        self.status = (499 if left else 500) if status is None else status
        self.timings.ended = self.clock()
        if self.from_cache:
            self.counted(self.answer_usage or TokenUsage(), "cache")
            self.provider_cost_micro_usd = None
        elif self.answer_source == "provider":
            self.complete_count(ended_early=left or not complete or self.failed_in_stream)
        self.said.over()
        self.error_type = error_type_of(self, answered=answered, left=left, complete=complete)
        self.outcome = OUTCOMES[self.error_type]

    def last_events(self, error: GatewayError) -> "list[Event]":
        """What ends the stream of this answer, which has begun and fails with `error`."""
        last = self.split[1][-1] if self.split is not None and self.split[1] else self._last_event
        return self.dialect.last_events(error, self.id, last)

    def last_frames(self, error: GatewayError) -> bytes:
        """The same as bytes."""
        return b"".join([event.raw for event in self.last_events(error)])

    def set_response_header(self, name: str, value: str) -> None:
        """Set a response header, replacing one of that name. For `on_response`."""
        key = name.lower().encode("latin-1")
        self.response_headers[:] = [h for h in self.response_headers if h[0] != key]
        self.response_headers.append((key, value.encode("latin-1")))


def error_type_of(exchange: Exchange, *, answered: bool, left: bool, complete: bool) -> ErrorType:
    """What went wrong, when the answer is over; "" for nothing.

    Args:
        answered: an answer began, if only the server's own error page.
        left: the client has disconnected.
        complete: the answer came to its end.
    """
    if left:
        return "client_disconnected"
    status, error_type = exchange.status or 500, exchange.error_type
    if status < 400 and (exchange.failed_in_stream or not complete):  # the client had been promised an answer
        return error_type if OUTCOMES[error_type] == "server_error" else "upstream_stream_broken"
    if error_type:  # a refusal by a plugin or handler names its type
        return error_type
    if not answered:
        return "internal"
    return answered_with(status) if status >= 400 else ""
