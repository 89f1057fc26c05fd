"""Alias tables for people: `explain` says what happens to a request for a name, `alias_warnings` what looks wrong."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import msgspec

from crplugins.core.fact import Fact, fact, facts_of
from crplugins.core.patterns import MeetingTable, NameSet, Pattern, name_set
from crplugins.core.principal import Principal
from crplugins.keys.aliases import AliasError
from crplugins.plugins.aliases.access import permitted, view_for
from crplugins.plugins.aliases.table import AliasEntry, AliasMap, AliasTable, AliasView, Link, caller_of

StepKind = Literal["alias", "weights", "allow_list", "target"]


class AliasStep(msgspec.Struct, frozen=True):
    """One step of an explanation.

    Attributes:
        kind: what was checked.
        text: a sentence for people.
        name: the model's name after the step.
        ok: False if the request ends here: no access, a cycle, a chain too long, a name that is not served.
        facts: what the sentence says; nothing where it quotes an error.
    """

    kind: StepKind
    text: str
    name: str
    ok: bool = True
    facts: tuple[Fact, ...] = ()


def explain(
    principal: Principal | None,
    requested: str,
    table: AliasTable,
    *,
    served: Sequence[str] | None = None,
    user: str | None = None,
    shadow: bool = False,
) -> list[AliasStep]:
    """How `requested` is resolved for this caller; ends with the first step that is not `ok`.

    `served` are the names and patterns that are served, None if unknown. `user` is the request's. With `shadow` no
    allow-list refuses anything.
    """
    view = view_for(principal, table)
    caller = caller_of(principal, user)
    try:
        links = view.chain(requested, lambda entry: 0 if caller is None else entry.choose(caller))
    except AliasError as error:
        return [AliasStep("alias", str(error), requested, ok=False)]
    access = _access(principal, requested, view, links, shadow=shadow)
    if not access.ok:
        return [access]
    steps = [access, *(step for link in links for step in _link_steps(link, principal, user))]
    return [*steps, _target(links[-1].target if links else requested, served, aliased=bool(links))]


def _access(
    principal: Principal | None, requested: str, view: AliasView, links: list[Link], *, shadow: bool
) -> AliasStep:
    if principal is None:
        return AliasStep("allow_list", "without a key no allow-list applies", requested, facts=(fact("no_list"),))
    who = f"the key '{principal.key_id}'"
    if principal.models is None:
        return AliasStep("allow_list", f"{who} may call every model", requested, facts=(fact("may_call_all"),))
    allowed = name_set(principal.models)
    if not permitted(view, allowed, requested):
        text = f"{who} may not call '{requested}': neither it nor what it resolves to is in its models"
        let_through = shadow or principal.models_shadow
        facts = facts_of(fact("may_not_call", model=requested), fact("shadow") if let_through else None)
        told = f"{text} (shadow)" if let_through else text
        return AliasStep("allow_list", told, requested, ok=let_through, facts=facts)
    granted = next((name for name in (requested, *(link.target for link in links)) if name in allowed), requested)
    through = "" if granted == requested else f", which '{requested}' resolves to"
    facts = (fact("may_call", model=granted),)
    return AliasStep("allow_list", f"{who} may call '{granted}'{through}", requested, facts=facts)


def _link_steps(link: Link, principal: Principal | None, user: str | None) -> list[AliasStep]:
    pattern = link.entry.pattern
    how = f"the pattern '{pattern.text}'" if pattern.star else "an alias"
    several = len(link.entry.models) > 1
    leads = f"one of {_shares(link.entry)}" if several else f"'{link.target}'"
    step = AliasStep(
        "alias",
        f"'{link.name}' is {'matched by ' if pattern.star else ''}{how} of {link.entry.owner}: {leads}",
        link.name if several else link.target,
        facts=(fact("alias", model=link.name, to=_shares(link.entry, "{} {}/{}") if several else link.target),),
    )
    return [step, _weights(link, principal, user)] if several else [step]


def _shares(entry: AliasEntry, form: str = "'{}' ({} of {})") -> str:
    total = sum(entry.weights)
    pairs = zip(entry.models, entry.weights, strict=True)
    return ", ".join(form.format(model.text, weight, total) for model, weight in pairs)


def _weights(link: Link, principal: Principal | None, user: str | None) -> AliasStep:
    if user:
        why = f"the hash of the request's user '{user}'" + (" and the key" if principal else "")
    elif principal:
        why = f"the hash of the key '{principal.key_id}'"
    else:
        text = f"'{link.target}', or another each time: no key and no user to be sticky for"
        return AliasStep("weights", text, link.target, facts=(fact("weights_random", model=link.target),))
    facts = (fact("weights_sticky", model=link.target),)
    return AliasStep("weights", f"'{link.target}', always the same: {why} picks it", link.target, facts=facts)


def _target(name: str, served: Sequence[str] | None, *, aliased: bool) -> AliasStep:
    if served is None:
        return AliasStep("target", f"the request goes on as '{name}'", name, facts=(fact("goes_on_as", model=name),))
    if name not in NameSet(served):
        facts = (fact("not_served", model=name), fact("answer", status=404, code="model_not_found"))
        return AliasStep("target", f"'{name}' is not served: 404 model_not_found", name, ok=False, facts=facts)
    text = f"'{name}' is served" + ("" if aliased else " under this very name")
    return AliasStep("target", text, name, facts=(fact("served", model=name),))


def alias_warnings(table: AliasTable, served: Sequence[str] | None) -> list[str]:
    """One sentence for each doubtful alias, in the order of the configuration.

    An alias that hides a served model, an alias that a team's pattern makes unreachable, and a target that is not
    served. `served` are the names and patterns that are served; None if unknown, as in front of a foreign app.
    """
    found: list[str] = []
    (shared,) = table.gateway.maps
    own = [view.maps[0] for view in table.teams.values()]
    for aliases in (shared, *own):
        found += _hidden_models(aliases, served or ())
    for aliases in own:
        found += _unreachable(aliases, shared)
    if served is not None:
        found += _dangling(table, NameSet(served))
    return found


def key_warnings(principals: Iterable[Principal], table: AliasTable, served: Sequence[str]) -> list[str]:
    """One sentence for each name in a key's `models` that is neither served nor an alias."""
    patterns = [Pattern.of(name) for name in served]
    return [
        f"the key '{principal.key_id}' may call '{name}', which is neither served nor an alias"
        for principal in principals
        for name in principal.models or ()
        if not _leads_somewhere(Pattern.of(name), patterns, view_for(principal, table))
    ]


def _leads_somewhere(name: Pattern, served: Iterable[Pattern], view: AliasView) -> bool:
    return any(name.meets(each) for each in served) or any(name.meets(entry.pattern) for entry in view)


def _hidden_models(aliases: AliasMap, served: Iterable[str]) -> Iterator[str]:
    hidden: dict[AliasEntry, list[str]] = {}
    for name in served:
        entry = None if Pattern.of(name).star else aliases.find(name)
        if entry is not None and not _is_own_target(entry, name):
            hidden.setdefault(entry, []).append(f"'{name}'")
    for entry, names in hidden.items():
        models = "model" if len(names) == 1 else "models"
        yield f"{_format_entry(entry)} hides the served {models} {', '.join(names)}"


def _is_own_target(entry: AliasEntry, name: str) -> bool:
    """Whether `name` is among its own targets: a canary, or a model that the pattern of its family resolves to."""
    return any(model.filled_from(entry.pattern, name) == name for model in entry.models)


def _unreachable(aliases: AliasMap, shared: AliasMap) -> Iterator[str]:
    """The gateway's aliases that a pattern of a team always overrides; the same name twice is meant as an override."""
    overridden = MeetingTable((entry.pattern, entry.pattern) for entry in shared)
    for entry in aliases.patterns:
        covered = [
            f"'{other.text}'"
            for other in overridden.meeting(entry.pattern)
            if entry.pattern.covers(other) and entry.pattern != other
        ]
        if covered:
            yield f"{_format_entry(entry)} never lets {', '.join(covered)} of the gateway match"


def _dangling(table: AliasTable, served: NameSet) -> Iterator[str]:
    reported: set[tuple[AliasEntry, str]] = set()
    for view in (table.gateway, *table.teams.values()):
        for entry in view:
            for model in entry.models:
                if model.star or model.text in served or (entry, model.text) in reported:
                    continue
                if view.find(model.text) in (None, entry):
                    reported.add((entry, model.text))
                    yield f"{_format_entry(entry)} leads to '{model.text}', which is not served"


def _format_entry(entry: AliasEntry) -> str:
    return f"the alias '{entry.pattern.text}' of {entry.owner}"
