"""Access: which names a key may call, and which of them a model list shows."""

from collections.abc import Iterable, Sequence

from crplugins.core.patterns import NameSet, Pattern, name_set
from crplugins.core.principal import Principal
from crplugins.plugins.aliases.table import LONGEST_CHAIN, AliasEntry, AliasTable, AliasView


def view_for(principal: Principal | None, table: AliasTable) -> AliasView:
    """The aliases that apply to a caller; only the gateway's for an unknown caller."""
    if principal is None:
        return table.gateway
    return table.view(principal.key_id, principal.team, principal.aliases)


def enforced_models(principal: Principal | None, *, shadow: bool = False) -> tuple[str, ...] | None:
    """The allow-list that a caller is held to; None for one without a list, or whose list is a shadow.

    With `shadow` every list is.
    """
    return None if principal is None or shadow or principal.models_shadow else principal.models


def may_call(principal: Principal | None, name: str, table: AliasTable | None = None) -> bool:
    """Whether `name`, or what it resolves to at any step, is in the key's `models`; without a list all are allowed."""
    models = enforced_models(principal)
    return models is None or permitted(view_for(principal, table or _EMPTY), name_set(models), name)


def permitted(view: AliasView, allowed: NameSet, name: str) -> bool:
    """The same for a view that the caller has already.

    If an alias with several targets is not allowed itself, all its targets must be: access to a name must not depend on
    the target that a canary picks.
    """
    return _permitted(view, allowed, name, None, {})


def may_reach(principal: Principal, model: str, table: AliasTable) -> bool:
    """Whether a request of this caller may be served by `model`, a served name or a pattern of such names.

    By its own name, or by an alias that leads there. Where patterns meet patterns it says yes rather than no.
    """
    models = enforced_models(principal)
    if models is None:
        return True
    allowed = [Pattern.of(text) for text in models]
    reached, view = Pattern.of(model), view_for(principal, table)
    names = [reached]
    for name in names:  # which grows: the aliases of a name, and those of these
        names += [e.pattern for e in view if e.pattern not in names and any(m.meets(name) for m in e.models)]
    return any(each.meets(name) for each in allowed for name in names)


def visible_models(
    principal: Principal | None, table: AliasTable, served: Sequence[str], *, shadow: bool = False
) -> list[str]:
    """What `/v1/models` lists: the models and aliases the caller may call and would get an answer from.

    Each once: the served models in their order, then the aliases of the gateway, of the team, of the key. Patterns are
    not listed, but `served` contains them, because an alias may resolve to a name that matches one. With `shadow` no
    allow-list hides anything.
    """
    owned = [text for aliases in reversed(view_for(principal, table).maps) for text in aliases.exact]
    names = dict.fromkeys([*(name for name in served if not Pattern.of(name).star), *owned])
    return _answered(names, principal, table, served, shadow=shadow)


def has_model(
    name: str, principal: Principal | None, table: AliasTable, served: Sequence[str], *, shadow: bool = False
) -> bool:
    """Whether `/v1/models/{name}` is there: what the list has, and what fits a pattern of it."""
    return not Pattern.of(name).star and bool(_answered([name], principal, table, served, shadow=shadow))


def _answered(
    names: Iterable[str], principal: Principal | None, table: AliasTable, served: Sequence[str], *, shadow: bool
) -> list[str]:
    """Of these names those that the caller may call and would get an answer from."""
    view, answered = view_for(principal, table), NameSet(served)
    models = enforced_models(principal, shadow=shadow)
    allowed = None if models is None else name_set(models)
    return [
        name
        for name in names
        if (allowed is None or permitted(view, allowed, name)) and _is_answered(view, answered, name)
    ]


def names_for(principal: Principal, model: str, table: AliasTable, *, shadow: bool = False) -> list[str]:
    """The names under which this caller may have requests served by `model`, a served name: as a list of models shows
    them, or else the patterns of aliases that lead there."""
    names = visible_models(principal, table, [model], shadow=shadow)
    if names or not may_reach(principal, model, table):
        return names
    reached = Pattern.of(model)
    leading = (entry for entry in view_for(principal, table) if any(each.meets(reached) for each in entry.models))
    return [entry.pattern.text for entry in leading]


def _permitted(
    view: AliasView, allowed: NameSet, name: str, last: AliasEntry | None, known: dict[str, bool], depth: int = 0
) -> bool:
    """`last` is the alias that led to `name`. `known` are the names found so far: one that leads to itself is not
    permitted, so it counts as such while it is looked at."""
    if name in allowed:
        return True
    entry = view.find(name)
    if entry is None or entry is last or depth > LONGEST_CHAIN:
        return False
    if name not in known:
        known[name] = False
        targets = _targets(entry, name)
        permitted = [_permitted(view, allowed, target, entry, known, depth + 1) for target in targets]
        known[name] = bool(permitted) and all(permitted)
    return known[name]


def _is_answered(view: AliasView, answered: NameSet, name: str) -> bool:
    """Whether a chain from `name` can end at a served model."""
    ways: dict[str, AliasEntry | None] = {name: None}
    for _ in range(LONGEST_CHAIN + 1):
        further: dict[str, AliasEntry | None] = {}
        for each, last in ways.items():
            entry = view.find(each)
            if entry is None or entry is last:
                if each in answered:
                    return True
            else:
                further.update(dict.fromkeys(_targets(entry, each), entry))
        if not further:
            break
        ways = further
    return False


def _targets(entry: AliasEntry, name: str) -> list[str]:
    """The targets of the alias; a target of weight 0 is not in use."""
    pairs = zip(entry.models, entry.weights, strict=True)
    return [model.filled_from(entry.pattern, name) for model, weight in pairs if weight]


_EMPTY = AliasTable.parse({})
