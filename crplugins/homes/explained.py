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
from crplugins.core.principal import Budget, Principal
from crplugins.core.redaction import without_credentials
from crplugins.core.usage import Price, TokenUsage, usd
from crplugins.handlers.demo import is_demo
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
from crplugins.plugins.rate_limits.rules import AppliedLimit, Occasion, applied_limits, limits_of_deployment


@dataclass(frozen=True, slots=True)
class ExplainedStep:
    """`step` is `key`, `room`, a kind of step of the alias resolution, `limits`, or of a deployment `handler`,
    `deadlines`, `retries`, `on_break` and `price`, or `fallbacks`."""

    step: str
    ok: bool
    text: str


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
        return [ExplainedStep("key", False, f"{error}: 401 invalid_api_key")]
    first = _key_step(key, now)
    if not first.ok:
        return [first]
    table = AliasTable.parse(config.aliases, config.team_aliases)
    served = [entry.model_name for entry in config.model_list]
    way = explain_name(key.principal, model, table, served=served, user=user, shadow=config.models_shadow)
    steps = [first, *_room(config, key, keys), *(ExplainedStep(step.kind, step.ok, step.text) for step in way)]
    if not way[-1].ok:
        return steps
    name = way[-1].name
    limits = ExplainedStep("limits", True, limits_text(config, key.principal, name))
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
        names = [
            f"'{other}'"
            if config.models_shadow or may_call(principal, other, table)
            else f"'{other}' (not for this key)"
            for other in fallbacks.after(name, remedy)
        ]
        if names:
            yield ExplainedStep("fallbacks", True, f"{occasion}: {', then '.join(names)}")


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
        yield ExplainedStep("room", True, f"{text} (server.max_in_flight: {most}), else 503 server_full")


_REFUSED: Final[Mapping[str, Callable[[Key], str]]] = {
    "disabled": lambda _: "is disabled",
    "revoked": lambda _: "is revoked: none of its secrets is valid",
    "expired": lambda key: f"expired on {format_moment(key.expires)}",
    "not yet valid": lambda key: f"is not valid before {format_moment(key.not_before)}",
}


def _key_step(key: Key, now: datetime) -> ExplainedStep:
    state = state_of(key, now)
    if state != "live":
        return ExplainedStep("key", False, f"the key '{key.id}' {_REFUSED[state](key)}: 401 invalid_api_key")
    team = f", of the team '{key.principal.team}'" if key.principal.team else ""
    return ExplainedStep("key", True, f"the key '{key.id}'{team} is live")


_ANY_USE_OF: Final = Occasion(user="user", session="session")


def limits_text(config: Config, principal: Principal, model: str) -> str:
    """Every limit and budget that applies to a request of this key for this served name."""
    limits = [
        f"{each.limit.amount} {each.measure.name} "
        f"({format_scope(each.scope)}{', shadow' * each.shadow}{_waiting(each)})"
        for each in applied_limits(config.limits.rules(), principal, _ANY_USE_OF._replace(model=model)).all
    ]
    return ", ".join([*limits, *_budgets(config, principal)]) or "no limit and no budget applies"


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
        return [ExplainedStep("handler", False, f"{unknown}; it is not served") for _, unknown in named]
    chosen = _CHOSEN[config.groups()[own[0][0].name].strategy].format(len(own) - 1)
    turns = "" if len(own) == 1 else f", {chosen} more to which it fails over"
    can_fail_over = len(own) > 1 or bool(Fallbacks(config.fallback_table()).after(name, "another"))
    steps = []
    for deployment, upstream in own:
        steps.append(ExplainedStep("handler", True, _handler(deployment, upstream, name) + _quota(deployment) + turns))
        steps.append(ExplainedStep("deadlines", True, _deadlines(deployment, can_fail_over=can_fail_over)))
        steps.append(ExplainedStep("retries", True, _retries(deployment)))
        steps.append(ExplainedStep("on_break", True, _on_break(deployment)))
        price = deployment.price_for(name)
        steps.append(_price_step(price, *tokens, refused=refused, listed=config.listed_prices.source))
    return steps


def _deadlines(deployment: Deployment, *, can_fail_over: bool) -> str:
    stream = deployment.deadlines.patience(stream=True, can_fail_over=can_fail_over)
    plain = deployment.deadlines.patience(stream=False, can_fail_over=can_fail_over)
    whole = "" if isinf(stream.whole) else f", {stream.whole:g} s in all"
    return (
        f"a stream has {stream.first_token:g} s to its first token, {stream.stall:g} s between two{whole}; "
        f"a plain answer has {plain.first_token:g} s"
    )


def _retries(deployment: Deployment) -> str:
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
    return f"{place}weight {settings.weight:g}: {again}{kinds}; when it keeps failing it {rest}"


def _on_break(deployment: Deployment) -> str:
    told = deployment.on_break
    if told.action == "error":
        return "error: a stream that breaks behind its first token ends with an error"
    if told.action == "continue":
        goes_on = "goes on with" if prefill_of(deployment) is not None else "is not asked to go on with"
        return f"continue: the next deployment goes on where a stream broke; this one {goes_on} the stream of another"
    return (
        f"restart: up to {told.hold_tokens} tokens or {told.hold_seconds:g} s of a stream are held back; if it breaks "
        "before that, it is begun anew at the next deployment"
    )


def _quota(deployment: Deployment) -> str:
    applied = limits_of_deployment(deployment.quota, deployment.account, shadow=False).all
    return "".join(f", at most {each.limit.amount} {each.measure.name}" for each in applied)


def _handler(deployment: Deployment, upstream: Upstream | None, name: str) -> str:
    if is_demo(deployment):
        return "demo: it says back what it is told"
    if upstream is not None:
        model = deployment.model_for(name, upstream.model)
        return f"direct: '{model}' at {without_credentials(upstream.base_url)}, bytes passed through"
    base = f" at {without_credentials(deployment.api_base)}" if deployment.api_base else ""
    return f"litellm: '{deployment.model_for(name, deployment.model)}'{base}, translated"


def _price_step(
    price: Price | None, input_tokens: int, output_tokens: int, *, refused: bool, listed: str
) -> ExplainedStep:
    """The price of tokens, whose it is, and the cost of so many of them."""
    if price is None:
        then = "400 under a budget, until model_info gives it" if refused else "cost is null, and no budget counts it"
        return ExplainedStep("price", not refused, f"its price is unknown, prices are from {listed}: {then}")
    cost = usd(price.micro_usd(TokenUsage(input_tokens, output_tokens)))
    whose = listed if price.source == "table" else "the configuration"
    text = f"{_per_million(price)}, says {whose}; {input_tokens} in and {output_tokens} out cost ${cost:.6f}"
    return ExplainedStep("price", True, text)


def _per_million(price: Price) -> str:
    parts = [("input", price.input), ("output", price.output), ("cached input", price.cached_input)]
    # Millionths of a millionth for one token are millionths for a million tokens.
    return ", ".join(f"${usd(pico):g} {name}" for name, pico in parts if pico is not None) + " per million tokens"
