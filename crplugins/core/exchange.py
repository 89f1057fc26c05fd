"""Exchange: the typed facts of one request, shared by every boundary and plugin it passes."""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import getrandbits
from typing import TYPE_CHECKING, Final, Generic, Literal, TypeVar

import msgspec

from crplugins.core.body import Body
from crplugins.core.dialects import CHAT, Dialect
from crplugins.core.errors import ErrorObject, GatewayError, Header
from crplugins.core.outcome import OUTCOMES, ErrorType, Outcome, answered_with
from crplugins.core.principal import Principal
from crplugins.core.response_ids import ResponsesPlace
from crplugins.core.said import NOTHING, Mark, Said
from crplugins.core.unended import Unended
from crplugins.core.units import NO_UNITS, Units
from crplugins.core.usage import OFF_PEAK, Price, TokenUsage, UsageSource
from crplugins.core.wire import is_end

if TYPE_CHECKING:
    from crplugins.core.sse import Event
    from crplugins.core.wire import AnswerFacts


AttemptKind = Literal["initial", "retry", "fallback"]

RescueKind = Literal["restart", "continue"]
"""How another deployment takes over a stream that has broken: from the beginning, or from where it broke."""

FallbackReason = Literal["failure", "unavailable", "context_window", "content_policy"]
"""Why another model answers: those of the one that was asked for failed, or none of them could be asked, or the prompt
was too long for it, or a policy of its provider forbids the content."""

MODEL_HEADER: Final = b"x-crplugins-model"
"""In an answer: the model name that serves it, which may be a fallback of the one that was asked for."""

Push = Callable[[bytes], bool]
"""Sends a piece of a stream at once, from outside of a task. False: it is taken, and no other may be pushed before a
`send` has been awaited, because the client is slow or something has gone wrong, which that `send` raises."""

T = TypeVar("T")

_ON_DEMAND = "on_demand_"
"""Google's name for a tier is that of the others behind this."""


class Timings(msgspec.Struct, eq=False):
    """Moments in seconds of one monotonic clock; None while not reached.

    `asked` is when it asked the first of its limits, `app` when the plugins were through and the app was called,
    `response` when it answered with a status. A token is any piece of the answer that says something: neither the role
    alone nor a comment. `queued` is for how many seconds the request has waited for limits.
    """

    started: float
    asked: float | None = None
    app: float | None = None
    response: float | None = None
    first_token: float | None = None
    last_token: float | None = None
    longest_gap: float = 0.0
    ended: float | None = None
    queued: float = 0.0

    def token(self, now: float) -> None:
        """A piece of the answer came."""
        if self.last_token is None:
            self.first_token = now
        elif now - self.last_token > self.longest_gap:
            self.longest_gap = now - self.last_token
        self.last_token = now


class Drain(msgspec.Struct, frozen=True):
    """How far an answer is read after its client has disconnected: at most so many seconds and output tokens more."""

    seconds: float
    tokens: int


class Attempt(msgspec.Struct, eq=False):
    """One call of a provider. `ended` is when its last byte was read, or when it failed; None while it is running.

    `target` is what was called there; another one makes a second attempt a fallback. `on_fail` is told when it fails,
    and `on_end` once when it ends in any way. `left_out` counts the malformed events of its stream that were left out.
    """

    provider: str
    kind: AttemptKind
    started: float
    ended: float | None = None
    error_type: ErrorType = ""
    target: object = None
    on_fail: Callable[[GatewayError, float], None] | None = None
    left_out: int = 0
    on_end: Callable[[], None] | None = None

    def end(self, now: float) -> None:
        """Its last byte was read, or nobody reads on. The first time counts."""
        if self.ended is None:
            self.ended = now
            if self.on_end is not None:
                self.on_end()

    def fail(self, error: GatewayError, now: float) -> None:
        self.error_type = error.error_type
        if self.on_fail is not None:
            self.on_fail(error, now)
        self.end(now)


class Spent(msgspec.Struct, frozen=True):
    """What an attempt has used that failed before another one was made.

    Attributes:
        attempts: how many attempts the request had made by then.
        cost_micro_usd: None where the price of its tokens is unknown.
        provider_cost_micro_usd: what its provider has told that it costs; None if it has not.
    """

    usage: TokenUsage
    source: UsageSource
    attempts: int
    cost_micro_usd: int | None
    provider_cost_micro_usd: int | None


@dataclass(slots=True)
class Reply:
    """An answer ready to be sent: headers without `content-length` for a stream.

    `body` is the whole body, or a generator of complete server-sent events, which is closed when the client leaves.
    `push_to` has a stream push what it would yield, where that needs no waiting, and yield the rest; who looks at the
    pieces of another's stream makes a reply without it.
    """

    status: int
    headers: list[Header]
    body: bytes | AsyncGenerator[bytes, None]
    push_to: Callable[[Push], None] | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A 4xx or 5xx of the app with a JSON body."""

    status: int
    body: bytes


class Slot(Generic[T]):
    """A typed place for a plugin's private state on the Exchange.

    Make one at module level: `seen: Slot[Reservation] = Slot("reservation")`.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def get(self, exchange: "Exchange") -> T | None:
        value: T | None = exchange.slots.get(self)  # type: ignore[assignment]  # only `set` writes, with a T
        return value

    def set(self, exchange: "Exchange", value: T) -> None:
        exchange.slots[self] = value

    def __repr__(self) -> str:
        return f"Slot({self._name!r})"


class Exchange(msgspec.Struct, eq=False):
    """The facts of one request. `path` is relative to where the app is mounted.

    Attributes:
        query: the query string, as it came.
        asks_model: the request asks a model, as the home has judged it by `core/paths.py`. False for the others that
            plugins with `every_path = True` see.
        dialect: the protocol in which it asks, and that of its answer and its errors.
        upstream_dialect: the protocol in which the deployment is asked that is asked now, where it is another one.
        body: None until a plugin that reads it is reached.
        served_model: the name under which the provider was asked for the model.
        provider_model: the name that its answer gave, which may be that of a release; None if it gave none.
        service_tier: the processing tier that the answer says it was given, which the request may not have asked for.
        inference_geo, search_context_size: what else the answer says that a price may depend on: the region where the
            model ran, and the size of the context of a web search.
        provider_cost_micro_usd: what the provider itself says the answer cost; None if it says nothing.
        usage: the token counts of the request: of the answer as its provider gave them last, or an estimate, and of
            what earlier attempts have `spent`.
        usage_source: `provider` if each of these was counted by its provider.
        answer_usage, answer_source: the part that the last attempt has used, and who says so.
        from_cache: the answer comes from a cache, and no provider worked for it. Whoever answers so sets it, before the
            answer ends: a plugin beside its `reply`, or for an app inside that says so in its headers. The usage that
            the answer tells is then recorded with the source `cache`, costs nothing and fills no limit of tokens.
        reported: what a provider has reported of the answer, where `answer_usage` adds an estimate of the output to it.
        spent: what attempts before this one have used. Once there is something, whoever has given them up counts the
            answer too, and its events tell a client the sum.
        price: what a token of the serving model costs; None if nobody knows.
        said: what the answer has said so far, and about how many tokens that is.
        said_before: what of that an earlier attempt had said, whose answer this one continues.
        counted_to: what of that had come when usage was reported for the last time, and `counted_at` when that was.
        status: what the client saw; 499 when it left before the first byte.
        error: the refusal we rendered.
        failed_in_stream: an error frame ended the stream.
        drain: how long to read on when the client leaves; None ends the work at once.
        trace_headers: what a provider that takes part in our traces is sent; None for what the client sent.
        can_fail_over: another deployment can be asked if the one that is asked now says nothing. Whoever chooses among
            them sets it.
        split: bytes of the answer that a handler has split already, and the events in them. A reader further out that
            is given this very object need not split and decode it again.
        client_gone: the client has disconnected, and the remaining answer is read for its usage.
        received: the client has been sent the end mark of a stream. Most clients disconnect then, without waiting for
            the end of the response.
        notes_attempts: each call of a provider is one of `attempts`, so that without one nobody has worked on the
            request. False in front of a foreign app.
        fallbacks: why it was sent to other models, one reason for each of them.
        rescues: how often another deployment took over a stream that had broken.
        disconnected: returns when the client has disconnected, for a plugin that waits in `on_request`; None in a home
            that cannot know.
        authenticate: finds out once more who calls, for a plugin that has waited. Raises `GatewayError` for a key that
            is not valid any more. None where nobody has asked for a key.
        made: what the answer says that it has made or used besides tokens.
        kept_at: where its provider keeps the answer, or the one that the request is about; None for nowhere.
        unended: the answer, where its provider may work on it when the client has been answered; None elsewhere.
        inner_path: the path with which the app inside is called, if it is another one.
        outcome: set, like `error_type`, before the first `on_ended`.
        wall_clock: seconds since 1970, for prices that depend on the hour.
    """

    id: str
    method: str
    path: str
    headers: Sequence[Header]
    client: str | None
    clock: Callable[[], float]
    timings: Timings
    query: bytes = b""
    asks_model: bool = True
    dialect: Dialect = CHAT
    upstream_dialect: Dialect | None = None
    body: Body | None = None
    principal: Principal | None = None
    requested_model: str | None = None
    served_model: str | None = None
    provider_model: str | None = None
    service_tier: str | None = None
    inference_geo: str | None = None
    search_context_size: str | None = None
    provider_cost_micro_usd: int | None = None
    stream: bool = False
    reply: Reply | None = None
    status: int | None = None
    response_headers: list[Header] = msgspec.field(default_factory=list)
    usage: TokenUsage | None = None
    usage_source: UsageSource = "none"
    answer_usage: TokenUsage | None = None
    answer_source: UsageSource = "none"
    from_cache: bool = False
    reported: TokenUsage | None = None
    spent: tuple[Spent, ...] = ()
    price: Price | None = None
    said: Said = msgspec.field(default_factory=Said)
    said_before: Mark = NOTHING
    counted_to: Mark = NOTHING
    counted_at: float | None = None
    finish_reason: str | None = None
    error: ErrorObject | None = None
    error_type: ErrorType = ""
    failed_in_stream: bool = False
    drain: Drain | None = None
    client_gone: bool = False
    received: bool = False
    trace_headers: Mapping[str, str] | None = None
    can_fail_over: bool = False
    split: "tuple[bytes, list[Event]] | None" = None
    attempts: list[Attempt] = msgspec.field(default_factory=list)
    notes_attempts: bool = False
    fallbacks: tuple[FallbackReason, ...] = ()
    rescues: tuple[RescueKind, ...] = ()
    disconnected: Callable[[], Awaitable[None]] | None = None
    authenticate: "Callable[[Exchange], Awaitable[None] | None] | None" = None
    made: Units | None = None
    kept_at: ResponsesPlace | None = None
    unended: Unended | None = None
    inner_path: str | None = None
    outcome: Outcome | None = None
    wall_clock: Callable[[], float] = time.time
    slots: dict[object, object] = msgspec.field(default_factory=dict)
    _given_up: int = 0  # attempts whose account is closed
    _last_event: "Event | None" = None  # of a stream that passes

    @property
    def choices(self) -> int:
        """How many answers the client asks for (`n`)."""
        return 1 if self.body is None else self.dialect.choices(self.body)

    @property
    def goes_on(self) -> bool:
        """Whether the provider works on when the client has been answered."""
        return self.unended is not None and self.unended.goes_on

    def begin_attempt(self, provider: str, target: object = None) -> Attempt:
        """A provider is called now: the second time for a request is a retry, elsewhere a fallback.

        `target` tells deployments of one provider apart.
        """
        target = provider if target is None else target
        last = self.attempts[-1].target if self.attempts else None
        kind: AttemptKind = "initial" if last is None else "retry" if last == target else "fallback"
        attempt = Attempt(provider, kind, self.clock(), target=target)
        self.attempts.append(attempt)
        return attempt

    def answered_from_cache(self, reply: Reply | None = None) -> None:
        """No provider works for this answer: it costs nothing, and counts as a request alone.

        For a plugin that answers by itself, which gives its `reply`; or for one that sees that the app inside has
        answered so. Before the answer ends.
        """
        self.from_cache = True
        if reply is not None:
            self.reply = reply

    def counted(self, usage: TokenUsage | None, source: UsageSource) -> None:
        """What the answer has used, and who says so. None and `none` take back what was said before."""
        self.usage, self.usage_source = self.answer_usage, self.answer_source = usage, source
        if self.spent:
            self._add_spent()
        self.counted_to = self.said.mark()
        self.counted_at = None if usage is None else self.clock()
        self.reported = usage if source == "provider" else None

    def with_spent(self, usage: TokenUsage) -> TokenUsage:
        """The sum of what the answer has used and what earlier attempts have spent."""
        return sum((spent.usage for spent in self.spent), usage)

    def _add_spent(self) -> None:
        sources = {spent.source for spent in self.spent}
        if self.answer_usage is not None:
            sources.add(self.answer_source)
        self.usage = self.with_spent(self.answer_usage or TokenUsage())
        self.usage_source = "provider" if sources == {"provider"} else "estimated"

    @property
    def answer_says(self) -> bool:
        """Whether the last attempt has said anything."""
        return self.said.mark() != self.said_before

    def give_up(self, cost_micro_usd: int | None) -> None:
        """Another attempt follows. What the last one has used stays in the books; what its answer said of itself not.

        `metering.attempts.give_up` alone calls this, when that is complete and priced.
        """
        if (usage := self.answer_usage) is not None:
            told = self.provider_cost_micro_usd
            self.spent = (*self.spent, Spent(usage, self.answer_source, len(self.attempts), cost_micro_usd, told))
        self.said_before, self._given_up = self.said.mark(), len(self.attempts)
        self.counted(None, "none")
        self.provider_model = self.service_tier = self.inference_geo = self.search_context_size = None
        self.provider_cost_micro_usd = self.finish_reason = None

    def cost_at(self, price: Price, usage: TokenUsage) -> int:
        """What `usage` costs in millionths of a US dollar, as the answer says it was processed."""
        names = (self.service_tier, self.inference_geo, self.search_context_size)
        named = [name.lower().removeprefix(_ON_DEMAND) for name in names if name] if any(names) else []
        if price.off_peak is not None and price.off_peak.holds_at(self.wall_clock()):
            named.append(OFF_PEAK)
        seconds = self.upstream_seconds(self.timings.ended or self.clock(), self._given_up) if price.second else 0.0
        by_number = price.picture or price.character or price.recorded_second
        return price.micro_usd(usage, named, seconds, self.units() if by_number else NO_UNITS)

    def asked_units(self) -> Units:
        """What the request asks for that is charged by number and is no token."""
        return NO_UNITS if self.body is None else self.dialect.asked_units(self.body)

    def units(self) -> Units:
        """What of that is charged: what the answer says, and else what was asked for. Nothing without an answer, but
        where the client has left a provider that was at work."""
        if self.made is not None:
            return self.made.over(self.asked_units())
        worked = self.outcome == "ok" or (self.outcome == "cancelled" and self.answer_source == "estimated")
        return self.asked_units() if worked else NO_UNITS

    def upstream_seconds(self, ended: float, after: int = 0) -> float:
        """Time in which a provider was working; in front of a foreign app, the time that app took.

        `after` leaves out so many attempts.
        """
        if not self.attempts:
            return ended - self.timings.app if self.timings.app is not None else 0.0
        seconds = 0.0
        for attempt in self.attempts[after:] if after else self.attempts:
            seconds += (attempt.ended if attempt.ended is not None else ended) - attempt.started
        return seconds

    def output_estimated(self, usage: TokenUsage, output_tokens: int) -> None:
        """A provider has reported `usage` before its last word, so the output is estimated; the rest of it holds."""
        self.reported = usage
        self._recount(msgspec.structs.replace(usage, output_tokens=output_tokens), "estimated")

    def _recount(self, usage: TokenUsage, source: UsageSource) -> None:
        """The same count as before, completed."""
        self.usage, self.usage_source = self.answer_usage, self.answer_source = usage, source
        if self.spent:
            self._add_spent()

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

    def complete_count(self, *, ended_early: bool) -> None:
        """Estimate the output that a provider had not counted when it reported usage for the last time.

        A first count, such as that of the prompt when Anthropic's stream starts, is not the last one. What it says of
        the prompt holds. In chat completions OpenAI counts no searches of the web, but an answer that took one names
        pages.
        """
        usage = self.answer_usage
        if usage is None or self.answer_source != "provider":
            return
        searches = max(int(self.said.cites_the_web), self.said.searches if ended_early else 0)
        if searches and not usage.web_searches:
            usage = msgspec.structs.replace(usage, web_searches=searches)
            self._recount(usage, "provider")
        if usage.output_tokens and not ended_early:
            return
        uncounted = self.said.tokens(self.counted_to if usage.output_tokens else self.said_before)
        if uncounted > 0:
            self.output_estimated(usage, usage.output_tokens + uncounted)

    def note_facts(self, event: "Event") -> None:
        """Keep what the answer says of itself, once for all plugins."""
        if event.text is not None and self.provider_model is not None:  # nearly every chunk says nothing else
            self._last_event = event
            self.said.hear_text(event.text)
            self.timings.token(self.clock())
        elif event.answer is not None:
            self._last_event = event
            self._note_facts(event, event.answer)

    def _note_facts(self, event: "Event", answer: "AnswerFacts") -> None:
        if answer.searches:
            self.said.searches += answer.searches
        self.made = answer.made or self.made
        if self.provider_model is None or answer.usage is not None:
            self.note_provider(answer)
        reports = answer.usage is not None or answer.x_groq is not None
        if answer.choices:
            if self.said.hear(answer.choices):
                self.timings.token(self.clock())
            for choice in answer.choices:
                if choice.finish_reason and is_end(choice.finish_reason):
                    self.finish_reason = str(choice.finish_reason)
                reports = reports or choice.usage is not None
        if reports and not self.spent and (counted := answer.counted) is not None:
            self.counted(counted, "provider")
        if answer.error is not None:
            self.failed_in_stream |= not event.document

    def last_events(self, error: GatewayError) -> "list[Event]":
        """What ends the stream of this answer, which has begun and fails with `error`."""
        last = self.split[1][-1] if self.split is not None and self.split[1] else self._last_event
        return self.dialect.last_events(error, self.id, last)

    def last_frames(self, error: GatewayError) -> bytes:
        """The same as bytes."""
        return b"".join([event.raw for event in self.last_events(error)])

    def note_unseen(self, events: "Iterable[Event]") -> None:
        """Keep what an answer that has failed had told of its usage, in events that nobody is shown."""
        for event in events:
            if (answer := event.answer) is not None and (counted := answer.counted) is not None:
                self.note_provider(answer)
                self.counted(counted, "provider")

    def note_ahead(self, event: "Event") -> None:
        """Keep what an event says that is held back, in case that nobody is shown it; see `shown_from_start`."""
        if event.answer is not None:
            self.said.hear(event.answer.choices or ())
            if not self.spent:  # else whoever tells the sum counts
                self.note_unseen((event,))

    def shown_from_start(self) -> None:
        """What was held back is shown now, and heard again as it is; or another answer is, from its beginning."""
        self.said.unsay()
        self.said_before = NOTHING

    def note_provider(self, answer: "AnswerFacts") -> None:
        """Keep what answered and what it cost, besides token counts. The last word holds; it comes with the usage."""
        if answer.model:
            self.provider_model = answer.model
            if self.served_model is None:  # a foreign app was asked, and no provider of ours
                self.served_model = answer.model
        usage, tier = answer.usage, answer.service_tier
        if usage is not None:
            tier = tier or usage.tier
            self.inference_geo = usage.inference_geo or self.inference_geo
            self.search_context_size = usage.search_context_size or self.search_context_size
            if (cost := usage.cost_micro_usd()) is not None:
                self.provider_cost_micro_usd = cost
        self.service_tier = tier or self.service_tier

    def header(self, name: bytes) -> str | None:
        """The first request header called `name` (lower case), or None."""
        for key, value in self.headers:
            if key == name:
                return value.decode("latin-1")
        return None

    def set_response_header(self, name: str, value: str) -> None:
        """Set a response header, replacing one of that name. For `on_response`."""
        key = name.lower().encode("latin-1")
        self.response_headers[:] = [h for h in self.response_headers if h[0] != key]
        self.response_headers.append((key, value.encode("latin-1")))


def error_type_of(exchange: Exchange, *, answered: bool, left: bool, complete: bool) -> ErrorType:
    """What went wrong, decided for every home when the answer is over; "" for nothing.

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


def new_request_id() -> str:
    """A UUIDv7 (RFC 9562, section 5.7): sorts by time, so a ledger's primary key stays append-only.

    Written out because `uuid.UUID` costs more than everything else the middleware does for a request. Ids are not
    secrets, so the fast generator serves.
    """
    stamp = f"{time.time_ns() // 1_000_000:012x}"
    random = f"{getrandbits(74):019x}"
    return f"{stamp[:8]}-{stamp[8:]}-7{random[:3]}-{'89ab'[int(random[0], 16) & 3]}{random[4:7]}-{random[7:]}"
