"""Account: what the answer to a request says of itself, and what it and the attempts before it have used."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

import msgspec

from crplugins.core.exchange.attempt import Attempt, AttemptKind, Spent
from crplugins.core.exchange.request_side import RequestSide
from crplugins.core.finish_reasons import is_end
from crplugins.core.outcome import Outcome
from crplugins.core.said import NOTHING, Mark, Said
from crplugins.core.units import NO_UNITS, Units
from crplugins.core.usage import OFF_PEAK, Price, TokenUsage, UsageSource

if TYPE_CHECKING:
    from crplugins.core.sse import Event
    from crplugins.core.wire import AnswerFacts

_ON_DEMAND: Final = "on_demand_"
"""Google's name for a tier is that of the others after this."""


def _without_date(model: str) -> str:
    """Anthropic's name of a model without its release: `-20250929` or `-latest`."""
    name, _, release = model.rpartition("-")
    return name if release == "latest" or (len(release) == 8 and release.isdigit()) else model


class Account(RequestSide):
    """Its verbs (`counted`, `give_up`, `note_facts` and their like) alone write what it says.

    Attributes:
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
        price_of: what a token of another model of the same provider costs, by its provider's name; None where no other
            is known of. Whoever sets the price sets it.
        by_model: the parts of what the answer has used that it names models for.
        said: what the answer has said so far, and about how many tokens that is.
        said_before: what of that an earlier attempt had said, whose answer this one continues.
        counted_to: what of that had come when usage was reported for the last time, and `counted_at` when that was.
        made: what the answer says that it has made or used besides tokens.
        failed_in_stream: an error frame ended the stream.
        notes_attempts: each call of a provider is one of `attempts`, so that without one nobody has worked on the
            request. False in front of a foreign app.
        outcome: how the request ended. Set, like `error_type`, before the first `on_ended`.
    """

    provider_model: str | None = None
    service_tier: str | None = None
    inference_geo: str | None = None
    search_context_size: str | None = None
    provider_cost_micro_usd: int | None = None
    usage: TokenUsage | None = None
    usage_source: UsageSource = "none"
    answer_usage: TokenUsage | None = None
    answer_source: UsageSource = "none"
    from_cache: bool = False
    reported: TokenUsage | None = None
    spent: tuple[Spent, ...] = ()
    price: Price | None = None
    price_of: Callable[[str], Price | None] | None = None
    by_model: tuple[tuple[str, TokenUsage], ...] = ()
    said: Said = msgspec.field(default_factory=Said)
    said_before: Mark = NOTHING
    counted_to: Mark = NOTHING
    counted_at: float | None = None
    made: Units | None = None
    finish_reason: str | None = None
    failed_in_stream: bool = False
    attempts: list[Attempt] = msgspec.field(default_factory=list)
    notes_attempts: bool = False
    outcome: Outcome | None = None
    _given_up: int = 0  # attempts whose account is closed
    _last_event: "Event | None" = None  # of a stream that passes

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

    def counted(self, usage: TokenUsage | None, source: UsageSource) -> None:
        """What the answer has used, and who says so. None and `none` take back what was said before, its bill too."""
        if usage is None:
            self.provider_cost_micro_usd = None
        elif not usage.input_tokens and self.reported is not None and source == "provider":
            usage = usage.with_input_of(self.reported)  # no prompt is empty, and relays count it at the start alone
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
        self.by_model, self.price_of = (), None

    def output_estimated(self, usage: TokenUsage, output_tokens: int) -> None:
        """A provider has reported `usage` before its last word, so the output is estimated; the rest of it holds."""
        self.reported = usage
        self._recount(msgspec.structs.replace(usage, output_tokens=output_tokens), "estimated")

    def _recount(self, usage: TokenUsage, source: UsageSource) -> None:
        """The same count as before, completed."""
        self.usage, self.usage_source = self.answer_usage, self.answer_source = usage, source
        if self.spent:
            self._add_spent()

    def complete_count(self, *, ended_early: bool) -> None:
        """Estimate the output that a provider had not counted when it reported usage for the last time.

        A first count, such as that of the prompt when Anthropic's stream starts, is not the last one. What it says of
        the prompt holds. In chat completions OpenAI counts no searches of the web, but an answer that took one names
        pages.
        """
        usage = self.answer_usage
        if usage is None or self.answer_source != "provider":
            return
        searches = (self.said.searches if ended_early else 0) or int(self.said.cites_the_web)
        if searches and not usage.web_searches:
            usage = msgspec.structs.replace(usage, web_searches=searches)
            self._recount(usage, "provider")
        if usage.output_tokens and not ended_early:
            return
        uncounted = self.said.tokens(self.counted_to if usage.output_tokens else self.said_before)
        if uncounted > 0:
            self.output_estimated(usage, usage.output_tokens + uncounted)

    def cost_at(self, price: Price, usage: TokenUsage) -> int:
        """What `usage` costs in millionths of a US dollar, as the answer says it was processed."""
        names = (self.service_tier, self.inference_geo, self.search_context_size)
        named = [name.lower().removeprefix(_ON_DEMAND) for name in names if name] if any(names) else []
        if price.off_peak is not None and price.off_peak.holds_at(self.wall_clock()):
            named.append(OFF_PEAK)
        seconds = self.upstream_seconds(self.timings.ended or self.clock(), self._given_up) if price.second else 0.0
        by_number = price.picture or price.character or price.recorded_second or price.request
        units = self.units() if by_number else NO_UNITS
        cost = 0
        for model, part in self.by_model:
            if (other := self._other_price(model)) is not None:
                rest = usage.without(part)
                cost, usage = cost + other.micro_usd(usage.without(rest), named), rest
        return cost + price.micro_usd(usage, named, seconds, units)

    def _other_price(self, model: str) -> Price | None:
        """The price of a model that the answer names, if it is another one than was asked: a release of the same one is
        none, and one whose price nobody knows costs what that costs."""
        asked = self.served_model
        if self.price_of is None or asked is None or _without_date(model) == _without_date(asked.rpartition("/")[2]):
            return None
        return self.price_of(model)

    def asked_terms(self) -> list[str]:
        """What the request asks for that its price may depend on, in the words of `Price`: a tier, a region, the size
        of a search's context. What is paid depends on what the answer says of them."""
        asked = () if self.body is None else self.dialect.asked_terms(self.body)
        return [name.lower().removeprefix(_ON_DEMAND) for name in asked if name]

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

    def note_facts(self, event: "Event") -> None:
        """Keep what the answer says of itself, once for all plugins."""
        if event.text is not None and self.provider_model is not None:  # nearly every chunk says nothing else
            self._last_event = event
            self.note_text(event.text)
        elif event.answer is not None:
            self._last_event = event
            self._note_facts(event, event.answer)

    def note_text(self, text: str) -> None:
        """The same of a chunk that is like the one before it but for its text."""
        self.said.hear_text(text)
        self.timings.token(self.clock())

    def _note_facts(self, event: "Event", answer: "AnswerFacts") -> None:
        if answer.searches:
            self.said.searches += answer.searches
        if answer.made:
            self.made = answer.made
        if self.provider_model is None or answer.usage is not None or answer.service_tier is not None:
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

    def note_provider(self, answer: "AnswerFacts") -> None:
        """Keep what answered and what it cost, besides token counts. The last word holds; it comes with the usage."""
        if answer.model:
            self.provider_model = answer.model
            if self.served_model is None:  # a foreign app was asked, and no provider of ours
                self.served_model = answer.model
        usage, tier = answer.usage, answer.service_tier
        if usage is not None:
            tier = tier or usage.tier
            if usage.inference_geo:
                self.inference_geo = usage.inference_geo
            if usage.search_context_size:
                self.search_context_size = usage.search_context_size
            if usage.iterations is not None:
                self.by_model = usage.by_model()
            if (cost := usage.cost_micro_usd()) is not None:
                self.provider_cost_micro_usd = cost
        if tier:
            self.service_tier = tier

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
