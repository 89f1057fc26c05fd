"""AliasTable: from the name a caller asks for to the name that is served. Pure and frozen."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

import msgspec

from crplugins.core.patterns import Pattern, by_precedence
from crplugins.core.principal import Aliases, AliasTarget, Principal
from crplugins.keys.aliases import AliasError, parse_aliases


def pick(alias: str, weights: Sequence[int], caller: str) -> int:
    """The index of the target: always the same for a caller and an alias, spread over callers by the weights.

    A hash picks a point between 0 and the sum of the weights, so a change of weights moves no more callers than it
    must. At least one weight is above 0.
    """
    digest = hashlib.blake2b(f"{alias}\0{caller}".encode(), digest_size=8).digest()
    point = int.from_bytes(digest) * sum(weights) >> 64
    for index, weight in enumerate(weights):
        point -= weight
        if point < 0:
            return index
    raise ValueError(f"the alias '{alias}' has no target with a weight above 0")


def caller_of(principal: Principal | None, user: str | None) -> str | None:
    """Whom a weighted alias is sticky for: the key, or each end user of it that requests name. None if neither."""
    if user:
        return f"{principal.key_id if principal else ''}\0{user}"
    return principal.key_id if principal else None


GATEWAY: Final = "the gateway"


class AliasCycle(AliasError):
    """Aliases that lead back to where they began. The message names them in order."""


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One alias: a name or pattern of the map `owner` (the gateway, a team or a key), and its targets."""

    owner: str
    pattern: Pattern
    models: tuple[Pattern, ...]
    weights: tuple[int, ...]

    @classmethod
    def of(cls, owner: str, text: str, targets: tuple[AliasTarget, ...]) -> Self:
        models = tuple(Pattern.of(target.model) for target in targets)
        return cls(owner, Pattern.of(text), models, tuple(target.weight for target in targets))

    def choose(self, caller: str) -> int:
        """The index of the target for `caller`."""
        return pick(self.pattern.text, self.weights, caller)


class Link(msgspec.Struct, frozen=True):
    """One step of a chain: `entry` turned `name` into `target`, its target number `index`.

    A Struct, because it is made on every request.
    """

    name: str
    entry: Entry
    index: int
    target: str


@dataclass(frozen=True, slots=True, eq=False)
class AliasMap:
    """The aliases of one owner."""

    exact: Mapping[str, Entry]
    patterns: tuple[Entry, ...]

    @classmethod
    def of(cls, owner: str, aliases: Aliases) -> Self:
        entries = {text: Entry.of(owner, text, targets) for text, targets in aliases.items()}
        exact = {text: entry for text, entry in entries.items() if not entry.pattern.star}
        patterns = by_precedence(entry.pattern for entry in entries.values() if entry.pattern.star)
        return cls(exact, tuple(entries[pattern.text] for pattern in patterns))

    def find(self, name: str) -> Entry | None:
        """The alias for `name`: the one spelt like it, else the longest pattern that fits."""
        if (entry := self.exact.get(name)) is not None:
            return entry
        for entry in self.patterns:
            if entry.pattern.matches(name):
                return entry
        return None

    def __iter__(self) -> Iterator[Entry]:
        yield from self.exact.values()
        yield from self.patterns


@dataclass(frozen=True, slots=True, eq=False)
class AliasView:
    """The maps that count for one caller, the first to be asked first: the key's, its team's, the gateway's."""

    maps: tuple[AliasMap, ...]

    def find(self, name: str) -> Entry | None:
        for aliases in self.maps:
            if (entry := aliases.find(name)) is not None:
                return entry
        return None

    def chain(self, name: str, choose: Callable[[Entry], int]) -> list[Link]:
        """The steps from `name` to the served name; none if it is no alias.

        An alias that leads to a name it would match again ends there, so `gpt-4*: gpt-4o` and the canary
        `gpt-4o: [{model: gpt-4o, weight: 9}, {model: next}]` mean what they say. `choose` is asked for the target of
        an alias that has several.

        Raises `AliasCycle`, which only a key's own aliases can still cause.
        """
        links: list[Link] = []
        entry = self.find(name)
        while entry is not None:
            if links and any(link.entry is entry for link in links):
                raise _cycle([*(link.entry for link in links), entry])
            index = choose(entry) if len(entry.models) > 1 else 0
            target = entry.models[index].filled_from(entry.pattern, name)
            links.append(Link(name, entry, index, target))
            name, last = target, entry
            entry = self.find(name)
            if entry is last:
                break
        return links

    def __iter__(self) -> Iterator[Entry]:
        for aliases in self.maps:
            yield from aliases


@dataclass(frozen=True, slots=True, eq=False)
class AliasTable:
    """The gateway's aliases and those of its teams.

    Raises `AliasError` for an alias that cannot be read, `AliasCycle` for aliases that lead in a circle.
    """

    gateway: AliasView
    teams: Mapping[str, AliasView] = field(default_factory=dict)

    @classmethod
    def parse(cls, aliases: Mapping[str, Any], teams: Mapping[str, Mapping[str, Any]] | None = None) -> Self:
        """From the words of the configuration: `aliases`, and a mapping like it for each team."""
        shared = AliasMap.of(GATEWAY, parse_aliases(aliases))
        own = {team: AliasMap.of(f"team {team}", parse_aliases(words)) for team, words in (teams or {}).items()}
        table = cls(AliasView((shared,)), {team: AliasView((aliases, shared)) for team, aliases in own.items()})
        for view in (table.gateway, *table.teams.values()):
            refuse_cycles(view)
        return table

    def view(self, key_id: str | None = None, team: str | None = None, aliases: Aliases | None = None) -> AliasView:
        """What counts for a key with these `aliases` of its own. Not checked for cycles: see `refuse_cycles`."""
        shared = self.gateway if team is None else self.teams.get(team, self.gateway)
        if not aliases:
            return shared
        return AliasView((AliasMap.of(f"key {key_id}", aliases), *shared.maps))


def refuse_cycles(view: AliasView) -> None:
    """Raise `AliasCycle` if one alias could be met twice on the way from some name.

    A target with a `*` counts as leading to every alias it may fit, so a few tables are refused in which each chain
    would still end.
    """
    done: set[Entry] = set()
    for entry in view:
        _walk(view, entry, [], done)


def _walk(view: AliasView, entry: Entry, path: list[Entry], done: set[Entry]) -> None:
    if entry in path:
        raise _cycle([*path, entry])
    if entry in done:
        return
    path.append(entry)
    for follower in _followers(view, entry):
        if follower is not entry:
            _walk(view, follower, path, done)
    path.pop()
    done.add(entry)


def _followers(view: AliasView, entry: Entry) -> Iterator[Entry]:
    for model in entry.models:
        if model.star:
            yield from (other for other in view if other.pattern.meets(model))
        elif (found := view.find(model.text)) is not None:
            yield found


def _cycle(path: list[Entry]) -> AliasCycle:
    """For a path whose last entry stands in it before."""
    circle = path[path.index(path[-1]) :]
    names = " -> ".join(f"'{entry.pattern.text}'" for entry in circle)
    return AliasCycle(f"aliases lead in a circle: {names}", circle[0].pattern.text)


def names_in(table: AliasTable) -> Iterator[str]:
    """The names in a table: what may be asked for, and what answers."""
    for view in (table.gateway, *table.teams.values()):
        for entry in view:
            yield entry.pattern.text
            yield from (model.text for model in entry.models)
