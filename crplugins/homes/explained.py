"""Explained: what would happen to a request of a key for a model, step by step.

The steps are the key, the room that is left to it, the resolution of the name, the limits and budgets that apply, for
each deployment that may answer its handler, its deadlines, how often it is asked again, and its price, and the models
that answer in their place.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

from crplugins.config import Config
from crplugins.core.fact import Fact, fact, facts_of
from crplugins.core.principal import Budget, Principal
from crplugins.core.usage import usd
from crplugins.handlers.routing.failures import Remedy
from crplugins.handlers.routing.fallbacks import Fallbacks
from crplugins.homes.explained_deployments import ExplainedStep, steps_at_deployments
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
)


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
    handlers = steps_at_deployments(config, name, tokens, refused=_refuses_unknown(config, key.principal))
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
    facts = facts_of(
        fact("key_live", key=key.id), fact("team", team=key.principal.team) if key.principal.team else None
    )
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
        f"{each.limit.amount} {each.measure.name} ({format_scope(each.scope)}{_shadow(each.shadow)}{_waiting(each)})"
        for each in _applied(config, principal, model)
    ]
    return ", ".join([*limits, *_budgets(config, principal)]) or "no limit and no budget applies"


def _limits(config: Config, principal: Principal, model: str) -> tuple[Fact, ...]:
    facts: list[Fact] = []
    for each in _applied(config, principal, model):
        facts.append(fact("limit", amount=each.limit.amount, measure=each.measure.name, scope=format_scope(each.scope)))
        facts += [fact("waits", seconds=each.queue.seconds)] if each.queue is not None else []
        facts += [fact("shadow")] if each.shadow else []
    for scope, budget in _applied_budgets(config, principal):
        period = "total" if scope == "session" else budget.period
        facts.append(fact("budget", usd=usd(budget.micro_usd), period=period, scope=scope))
        facts += [fact("shadow")] if config.budgets.shadow or budget.shadow else []
    return tuple(facts) or (fact("no_limit"),)


def _shadow(is_shadow: bool) -> str:  # noqa: FBT001
    return ", shadow" if is_shadow else ""


def _waiting(applied: AppliedLimit) -> str:
    return "" if applied.queue is None else f", waits up to {applied.queue.seconds:g} s"


def _budgets(config: Config, principal: Principal) -> Iterator[str]:
    for scope, budget in _applied_budgets(config, principal):
        shadow = config.budgets.shadow or budget.shadow
        each = "in all" if scope == "session" else f"per {budget.period}"
        yield f"${usd(budget.micro_usd):.2f} {each} ({scope}{_shadow(shadow)})"


def _applied_budgets(config: Config, principal: Principal) -> Iterator[tuple[str, Budget]]:
    budgets = config.budgets
    own, team = principal.budget or budgets.key(), budgets.teams().get(principal.team or "")
    found = (("key", own), ("team", team), ("user", budgets.user()), ("session", budgets.session()))
    yield from ((scope, budget) for scope, budget in found if budget is not None)


def _refuses_unknown(config: Config, principal: Principal) -> bool:
    """Whether a request for a model without a price would be refused."""
    enforced = not config.budgets.shadow and any(not each.shadow for _, each in _applied_budgets(config, principal))
    return enforced and config.budgets.refuses_unknown_price
