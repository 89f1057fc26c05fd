"""Explained: what would happen to a request of a key for a model, step by step.

The steps are the key, the room that is left to it, the resolution of the name, the limits and budgets that apply, for
each deployment that may answer its handler, its deadlines, how often it is asked again, and its price, and the models
that answer in their place.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isinf
from typing import Final

from crplugins.config import Config
from crplugins.core.fact import Fact, fact
from crplugins.core.principal import Budget, Principal
from crplugins.core.redaction import without_credentials
from crplugins.core.usage import Price, TokenUsage, usd
from crplugins.handlers.demo_models import is_demo
from crplugins.handlers.deployment import Deployment, Routes
from crplugins.handlers.routing.failures import Remedy
from crplugins.handlers.routing.fallbacks import Fallbacks
from crplugins.handlers.routing.prefill import prefill_of
from crplugins.handlers.routing.settings import Strategy
from crplugins.handlers.upstream import Upstream, UpstreamUnknown
from crplugins.homes.upstream_choice import upstreams_of
from crplugins.keys.key import Key
from crplugins.keys.state import format_moment, state_of
from crplugins.keys.store import NoSuchKey
from crplugins.plugins.admission import places_of
from crplugins.plugins.aliases.access import may_call
from crplugins.plugins.aliases.explain import explain as explain_name
from crplugins.plugins.aliases.table import AliasTable
from crplugins.plugins.rate_limits.responses import format_scope
from crplugins.plugins.rate_limits.rules import (
    AppliedLimit,
    LimitedModels,
    Occasion,
    applied_limits,
    limits_of_deployment,
)


@dataclass(frozen=True, slots=True)
class ExplainedStep:
    """`step` is `key`, `room`, a kind of step of the alias resolution, `limits`, or of a deployment `handler`,
    `deadlines`, `retries`, `on_break` and `price`, or `fallbacks`."""

    step: str
    ok: bool
    text: str
    facts: tuple[Fact, ...] = ()
    """What the text says, for who says it in another language; nothing where it quotes an error."""


def explained(
    config: Config,
    keys: Sequence[Key],
    key_id: str,
    model: str,
    *,
    now: datetime,
    user: str | None = None,
    tokens: tuple[int, int] = (1000, 1000),
) -> list[ExplainedStep]:
    """The steps up to the first that is not `ok`. Blocks: prices are read, and litellm may have to be imported.

    Args:
        keys: all that are known, among which `key_id` is looked for.
        user: the request's `user`, for weighted aliases.
        tokens: of the prompt and of the answer, for what it costs.

    Raises `ConfigError` for models that no handler can serve.
    """
    try:
        key = _find_key(keys, key_id)
    except NoSuchKey as error:
        facts = (fact("key_unknown", key=key_id), _UNAUTHORIZED)
        return [ExplainedStep("key", False, f"{error}: 401 invalid_api_key", facts)]
    first = _key_step(key, now)
    if not first.ok:
        return [first]
    table = AliasTable.parse(config.aliases, config.team_aliases)
    served = [entry.model_name for entry in config.model_list]
    way = explain_name(key.principal, model, table, served=served, user=user, shadow=config.models_shadow)
    steps = [
        first,
        *_room(config, key, keys),
        *(ExplainedStep(step.kind, step.ok, step.text, step.facts) for step in way),
    ]
    if not way[-1].ok:
        return steps
    name = way[-1].name
    limits = ExplainedStep(
        "limits", True, limits_text(config, key.principal, name), _limits(config, key.principal, name)
    )
    handlers = _handlers(config, name, tokens, refused=_refuses_unknown(config, key.principal))
    return [*steps, limits, *handlers, *_fallbacks(config, key.principal, name, table)]


_OCCASIONS: Final[Mapping[Remedy, str]] = {
    "another": "if no deployment of it answers",
    "another_model": "if the prompt is too long for it",
    "content_policy": "if a policy of the provider forbids the content",
}


def _fallbacks(config: Config, principal: Principal, name: str, table: AliasTable) -> Iterator[ExplainedStep]:
    """Who answers in its place, and for which of them the key has no access."""
    fallbacks = Fallbacks(config.fallback_table())
    for remedy, occasion in _OCCASIONS.items():
        others = {
            other: config.models_shadow or may_call(principal, other, table) for other in fallbacks.after(name, remedy)
        }
        names = [f"'{other}'" if permitted else f"'{other}' (not for this key)" for other, permitted in others.items()]
        if names:
            facts = [
                fact("fallback" if permitted else "fallback_forbidden", model=other)
                for other, permitted in others.items()
            ]
            text = f"{occasion}: {', then '.join(names)}"
            yield ExplainedStep("fallbacks", True, text, (fact("fallbacks", occasion=remedy), *facts))


def _find_key(keys: Sequence[Key], key_id: str) -> Key:
    """Raises `NoSuchKey`. Keys of a `jwt` source are tokens, and cannot be found before they are presented."""
    for key in keys:
        if key.id == key_id:
            return key
    raise NoSuchKey(key_id, [key.id for key in keys])


def _room(config: Config, key: Key, keys: Sequence[Key]) -> Iterator[ExplainedStep]:
    """Up to how many requests in flight one of this key is taken."""
    most, priority = config.server.max_in_flight, key.principal.priority
    if most is not None:
        places = places_of(most, {each.principal.priority for each in keys})[priority]
        text = f"priority '{priority}': it is taken while fewer than {places} requests are in flight in its process"
        facts = (
            fact("room", priority=priority, places=places, most=most),
            fact("else_answer", status=503, code="server_full"),
        )
        yield ExplainedStep("room", True, f"{text} (server.max_in_flight: {most}), else 503 server_full", facts)


_REFUSED: Final[Mapping[str, Callable[[Key], str]]] = {
    "disabled": lambda _: "is disabled",
    "revoked": lambda _: "is revoked: none of its secrets is valid",
    "expired": lambda key: f"expired on {format_moment(key.expires)}",
    "not yet valid": lambda key: f"is not valid before {format_moment(key.not_before)}",
}


def _key_step(key: Key, now: datetime) -> ExplainedStep:
    state = state_of(key, now)
    if state != "live":
        moment = {"expired": key.expires, "not yet valid": key.not_before}.get(state)
        when = () if moment is None else (fact("when", at=str(format_moment(moment))),)
        facts = (fact(f"key_{state.replace(' ', '_')}", key=key.id), *when, _UNAUTHORIZED)
        return ExplainedStep("key", False, f"the key '{key.id}' {_REFUSED[state](key)}: 401 invalid_api_key", facts)
    team = f", of the team '{key.principal.team}'" if key.principal.team else ""
    facts = (fact("key_live", key=key.id), *[fact("team", team=name) for name in [key.principal.team] if name])
    return ExplainedStep("key", True, f"the key '{key.id}'{team} is live", facts)


_UNAUTHORIZED: Final = fact("answer", status=401, code="invalid_api_key")

_ANY_USE_OF: Final = Occasion(user="user", session="session")


def _applied(config: Config, principal: Principal, model: str) -> Sequence[AppliedLimit]:
    rules = config.limits.rules()
    occasion = _ANY_USE_OF._replace(models=LimitedModels(rules).fitting(model))
    return applied_limits(rules, principal, occasion).all


def limits_text(config: Config, principal: Principal, model: str) -> str:
    """Every limit and budget that applies to a request of this key for this served name."""
    limits = [
        f"{each.limit.amount} {each.measure.name} "
        f"({format_scope(each.scope)}{', shadow' * each.shadow}{_waiting(each)})"
        for each in _applied(config, principal, model)
    ]
    return ", ".join([*limits, *_budgets(config, principal)]) or "no limit and no budget applies"


def _limits(config: Config, principal: Principal, model: str) -> tuple[Fact, ...]:
    facts: list[Fact] = []
    for each in _applied(config, principal, model):
        facts.append(fact("limit", amount=each.limit.amount, measure=each.measure.name, scope=format_scope(each.scope)))
        facts += [fact("waits", seconds=each.queue.seconds)] if each.queue is not None else []
        facts += [fact("shadow")] * each.shadow
    for scope, budget in _applied_budgets(config, principal):
        period = "total" if scope == "session" else budget.period
        facts.append(fact("budget", usd=usd(budget.micro_usd), period=period, scope=scope))
        facts += [fact("shadow")] * (config.budgets.shadow or budget.shadow)
    return tuple(facts) or (fact("no_limit"),)


def _waiting(applied: AppliedLimit) -> str:
    return "" if applied.queue is None else f", waits up to {applied.queue.seconds:g} s"


def _budgets(config: Config, principal: Principal) -> Iterator[str]:
    for scope, budget in _applied_budgets(config, principal):
        shadow = config.budgets.shadow or budget.shadow
        each = "in all" if scope == "session" else f"per {budget.period}"
        yield f"${usd(budget.micro_usd):.2f} {each} ({scope}{', shadow' * shadow})"


def _applied_budgets(config: Config, principal: Principal) -> Iterator[tuple[str, Budget]]:
    budgets = config.budgets
    own, team = principal.budget or budgets.key(), budgets.teams().get(principal.team or "")
    found = (("key", own), ("team", team), ("user", budgets.user()), ("session", budgets.session()))
    yield from ((scope, budget) for scope, budget in found if budget is not None)


def _refuses_unknown(config: Config, principal: Principal) -> bool:
    """Whether a request for a model without a price would be refused."""
    enforced = not config.budgets.shadow and any(not each.shadow for _, each in _applied_budgets(config, principal))
    return enforced and config.budgets.refuses_unknown_price


_CHOSEN: Final[Mapping[Strategy, str]] = {
    "simple-shuffle": "in turn with {}",
    "least-busy": "when it is less busy than {}",
    "latency-based-routing": "when it answers sooner than {}",
    "cost-based-routing": "when it is cheaper than {}",
}


def _handlers(config: Config, name: str, tokens: tuple[int, int], *, refused: bool) -> list[ExplainedStep]:
    """The deployments that take turns for a served name; `refused`: a request is, if one of them has no price."""
    pairs = list(zip(config.deployments(), upstreams_of(config), strict=True))
    pattern = Routes((deployment.name, deployment.name) for deployment, _ in pairs).find(name)
    named = [(deployment, upstream) for deployment, upstream in pairs if deployment.name == pattern]
    own = [(deployment, upstream) for deployment, upstream in named if not isinstance(upstream, UpstreamUnknown)]
    if not own:
        why = [f"{unknown}; it is not served" for _, unknown in named]
        return [ExplainedStep("handler", False, text) for text in why]
    chosen = _CHOSEN[config.groups()[own[0][0].name].strategy].format(len(own) - 1)
    turns = "" if len(own) == 1 else f", {chosen} more to which it fails over"
    strategy = config.groups()[own[0][0].name].strategy
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
    facts = (
        fact("first_token", seconds=stream.first_token),
        fact("stall", seconds=stream.stall),
        *[fact("whole", seconds=seconds) for seconds in [stream.whole] if not isinf(seconds)],
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
    facts = (
        *[fact("order", order=order) for order in [settings.order] if order is not None],
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
        return "error: a stream that breaks behind its first token ends with an error", (fact("break_error"),)
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
        facts = (
            fact("price_unknown", source=_named(listed)),
            fact("price_refused") if refused else fact("price_free"),
            *[fact("answer", status=400, code="unknown_price")] * refused,
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
