"""What would happen to an explained request at each deployment that may answer it.

Its handler and how it takes turns, its deadlines, how often it is asked again, what follows a break, and its price.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isinf
from typing import Final

from crplugins.config import Config
from crplugins.core.fact import Fact, fact, facts_of
from crplugins.core.redaction import without_credentials
from crplugins.core.usage import Price, TokenUsage, usd
from crplugins.handlers.demo_models import is_demo
from crplugins.handlers.deployment import Deployment, Routes
from crplugins.handlers.routing.fallbacks import Fallbacks
from crplugins.handlers.routing.prefill import prefill_of
from crplugins.handlers.routing.settings import Strategy
from crplugins.handlers.upstream import Upstream, UpstreamUnknown
from crplugins.homes.upstream_choice import upstreams_of
from crplugins.plugins.rate_limits.rules import (
    limits_of_deployment,
)


@dataclass(frozen=True, slots=True)
class ExplainedStep:
    """One step of what would happen to a request.

    Attributes:
        step: `key`, `room`, a kind of step of the alias resolution, `limits`, `fallbacks`, or of a deployment
            `handler`, `deadlines`, `retries`, `on_break` and `price`.
        ok: the request goes on after it.
        facts: what the text says, for who says it in another language; nothing where it quotes an error.
    """

    step: str
    ok: bool
    text: str
    facts: tuple[Fact, ...] = ()


_CHOSEN: Final[Mapping[Strategy, str]] = {
    "simple-shuffle": "in turn with {}",
    "least-busy": "when it is less busy than {}",
    "latency-based-routing": "when it answers sooner than {}",
    "cost-based-routing": "when it is cheaper than {}",
}


def steps_at_deployments(config: Config, name: str, tokens: tuple[int, int], *, refused: bool) -> list[ExplainedStep]:
    """Those at each deployment that takes turns for a served name, five for each.

    `tokens` are of the prompt and of the answer. `refused`: a request is refused if one of them has no price.
    """
    pairs = list(zip(config.deployments(), upstreams_of(config), strict=True))
    pattern = Routes((deployment.name, deployment.name) for deployment, _ in pairs).find(name)
    named = [(deployment, upstream) for deployment, upstream in pairs if deployment.name == pattern]
    own = [(deployment, upstream) for deployment, upstream in named if not isinstance(upstream, UpstreamUnknown)]
    if not own:
        why = [f"{unknown}; it is not served" for _, unknown in named]
        return [ExplainedStep("handler", False, text) for text in why]
    strategy = config.groups()[own[0][0].name].strategy
    chosen = _CHOSEN[strategy].format(len(own) - 1)
    turns = "" if len(own) == 1 else f", {chosen} more to which it fails over"
    taking_turns = [fact("turns", strategy=strategy, others=len(own) - 1)] if len(own) > 1 else []
    can_fail_over = len(own) > 1 or bool(Fallbacks(config.fallback_table()).after(name, "another"))
    steps = []
    for deployment, upstream in own:
        text, serves = _handler(deployment, upstream, name)
        facts = (serves, *_quota_facts(deployment), *taking_turns)
        steps.append(ExplainedStep("handler", True, text + _quota(deployment) + turns, facts))
        steps.append(_deadlines(deployment, can_fail_over=can_fail_over))
        steps.append(_retries(deployment))
        steps.append(_on_break(deployment))
        price = deployment.price_for(name)
        steps.append(_price_step(price, *tokens, refused=refused, listed=config.listed_prices.source))
    return steps


def _deadlines(deployment: Deployment, *, can_fail_over: bool) -> ExplainedStep:
    stream = deployment.deadlines.patience(stream=True, can_fail_over=can_fail_over)
    plain = deployment.deadlines.patience(stream=False, can_fail_over=can_fail_over)
    whole = "" if isinf(stream.whole) else f", {stream.whole:g} s in all"
    text = (
        f"a stream has {stream.first_token:g} s to its first token, {stream.stall:g} s between two{whole}; "
        f"a plain answer has {plain.first_token:g} s"
    )
    facts = facts_of(
        fact("first_token", seconds=stream.first_token),
        fact("stall", seconds=stream.stall),
        None if isinf(stream.whole) else fact("whole", seconds=stream.whole),
        fact("plain", seconds=plain.first_token),
    )
    return ExplainedStep("deadlines", True, text, facts)


def _retries(deployment: Deployment) -> ExplainedStep:
    settings = deployment.routing
    place = "" if settings.order is None else f"order {settings.order}, "
    often = "once" if settings.retries.retries == 1 else f"{settings.retries.retries} times"
    again = (
        f"asked again {often} at most, within the budget of retries" if settings.retries.retries else "not asked again"
    )
    kinds = "".join(f", after {kind} {times}" for kind, times in settings.retries.by_kind.items())
    rest = (
        f"cools down for {settings.cooldown_seconds:g} s at first" if settings.cooldown_seconds else "never cools down"
    )
    text = f"{place}weight {settings.weight:g}: {again}{kinds}; when it keeps failing it {rest}"
    seconds, retries = settings.cooldown_seconds, settings.retries.retries
    facts = facts_of(
        None if settings.order is None else fact("order", order=settings.order),
        fact("weight", weight=settings.weight),
        fact("retries", times=retries) if retries else fact("no_retries"),
        *[fact("retries_after", kind=kind, times=times) for kind, times in settings.retries.by_kind.items()],
        fact("cooldown", seconds=seconds) if seconds else fact("no_cooldown"),
    )
    return ExplainedStep("retries", True, text, facts)


def _on_break(deployment: Deployment) -> ExplainedStep:
    text, facts = _on_break_told(deployment)
    return ExplainedStep("on_break", True, text, facts)


def _on_break_told(deployment: Deployment) -> tuple[str, tuple[Fact, ...]]:
    told = deployment.on_break
    if told.action == "error":
        return "error: a stream that breaks after its first token ends with an error", (fact("break_error"),)
    if told.action == "continue":
        takes = prefill_of(deployment) is not None
        goes_on = "goes on with" if takes else "is not asked to go on with"
        facts = (fact("break_continue"), fact("takes_over" if takes else "takes_over_nothing"))
        text = f"continue: the next deployment goes on where a stream broke; this one {goes_on} the stream of another"
        return text, facts
    text = (
        f"restart: up to {told.hold_tokens} tokens or {told.hold_seconds:g} s of a stream are held back; if it breaks "
        "before that, it is begun anew at the next deployment"
    )
    return text, (fact("break_restart", tokens=told.hold_tokens, seconds=told.hold_seconds),)


def _quota(deployment: Deployment) -> str:
    applied = limits_of_deployment(deployment.quota, deployment.account, shadow=False).all
    return "".join(f", at most {each.limit.amount} {each.measure.name}" for each in applied)


def _quota_facts(deployment: Deployment) -> list[Fact]:
    applied = limits_of_deployment(deployment.quota, deployment.account, shadow=False).all
    return [fact("quota", amount=each.limit.amount, measure=each.measure.name) for each in applied]


def _handler(deployment: Deployment, upstream: Upstream | None, name: str) -> tuple[str, Fact]:
    if is_demo(deployment):
        return "demo: it says back what it is told", fact("demo")
    if upstream is not None:
        model = deployment.model_for(name, upstream.model)
        where = without_credentials(upstream.base_url)
        return f"direct: '{model}' at {where}, bytes passed through", fact("direct", model=model, where=where)
    model = deployment.model_for(name, deployment.model)
    if not deployment.api_base:
        return f"litellm: '{model}', translated", fact("litellm", model=model)
    where = without_credentials(deployment.api_base)
    return f"litellm: '{model}' at {where}, translated", fact("litellm_at", model=model, where=where)


def _price_step(
    price: Price | None, input_tokens: int, output_tokens: int, *, refused: bool, listed: str
) -> ExplainedStep:
    """The price of tokens, whose it is, and the cost of so many of them."""
    if price is None:
        then = "400 under a budget, until model_info gives it" if refused else "cost is null, and no budget counts it"
        facts = facts_of(
            fact("price_unknown", source=_named(listed)),
            fact("price_refused") if refused else fact("price_free"),
            fact("answer", status=400, code="unknown_price") if refused else None,
        )
        return ExplainedStep("price", not refused, f"its price is unknown, prices are from {listed}: {then}", facts)
    cost = usd(price.micro_usd(TokenUsage(input_tokens, output_tokens)))
    whose = listed if price.source == "table" else "the configuration"
    text = f"{_per_million(price)}, says {whose}; {input_tokens} in and {output_tokens} out cost ${cost:.6f}"
    facts = (
        *[fact(f"price_{name.replace(' ', '_')}", usd=amount) for name, amount in _amounts(price)],
        fact("price_of_table", source=_named(listed)) if price.source == "table" else fact("price_of_config"),
        fact("cost", input=input_tokens, output=output_tokens, usd=cost),
    )
    return ExplainedStep("price", True, text, facts)


def _named(listed: str) -> str:
    """A list of prices without the English words before its name."""
    return listed.removeprefix("the table of ").removeprefix("the list of ")


def _per_million(price: Price) -> str:
    return ", ".join(f"${amount:g} {name}" for name, amount in _amounts(price)) + " per million tokens"


def _amounts(price: Price) -> Iterator[tuple[str, float]]:
    """US dollars for a million tokens, by kind."""
    parts = [("input", price.input), ("output", price.output), ("cached input", price.cached_input)]
    # Millionths of a millionth for one token are millionths for a million tokens.
    yield from ((name, usd(pico)) for name, pico in parts if pico is not None)
