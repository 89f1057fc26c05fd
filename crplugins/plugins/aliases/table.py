"""AliasTable: resolves the name that a caller requests to the name that is served. Pure and frozen.

An `AliasTable` has the maps of the gateway and of the teams. The `AliasView` of a caller has the maps that apply to it,
in order of precedence; an `AliasMap` has the entries of one owner. `AliasView.chain` resolves a name step by step.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Self

import msgspec

from crplugins.core.patterns import LONGEST_MODEL, MeetingTable, Pattern, PatternTable, by_precedence
from crplugins.core.principal import Aliases, AliasTarget, Principal
from crplugins.keys.aliases import AliasError, parse_aliases

GATEWAY: Final = "the gateway"


LONGEST_CHAIN: Final = 256
"""Aliases that lead to one another, at most. Nobody writes as many by hand: such a table was made by a mistake."""


class AliasCycle(AliasError):
    """Aliases that form a cycle. The message names them in order."""


class AliasChainTooLong(AliasError):
    """More than `LONGEST_CHAIN` aliases that lead to one another. The message names the first of them."""


class AliasEntry(msgspec.Struct, frozen=True, eq=False):
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
    entry: AliasEntry
    index: int
    target: str


class AliasMap(msgspec.Struct, frozen=True, eq=False):
    """The aliases of one owner."""

    exact: Mapping[str, AliasEntry]
    patterns: tuple[AliasEntry, ...]
    _by_pattern: PatternTable[AliasEntry]

    @classmethod
    def of(cls, owner: str, aliases: Aliases) -> Self:
        entries = {text: AliasEntry.of(owner, text, targets) for text, targets in aliases.items()}
        exact = {text: entry for text, entry in entries.items() if not entry.pattern.star}
        ordered = by_precedence(entry.pattern for entry in entries.values() if entry.pattern.star)
        patterns = tuple(entries[pattern.text] for pattern in ordered)
        return cls(exact, patterns, PatternTable((entry.pattern, entry) for entry in patterns))

    def find(self, name: str) -> AliasEntry | None:
        """The alias for `name`: the exact name, else the longest pattern that matches.

        What a client completes is no longer than the name of a model, because each chunk of an answer repeats it.
        """
        found = self.exact.get(name)
        if found is not None or len(name) > LONGEST_MODEL:
            return found
        return self._by_pattern.find(name)

    def __iter__(self) -> Iterator[AliasEntry]:
        yield from self.exact.values()
        yield from self.patterns


class AliasView(msgspec.Struct, frozen=True, eq=False):
    """The maps that apply to one caller, in order of precedence: the key's, its team's, the gateway's."""

    maps: tuple[AliasMap, ...]

    def find(self, name: str) -> AliasEntry | None:
        for aliases in self.maps:
            if (entry := aliases.find(name)) is not None:
                return entry
        return None

    def chain(self, name: str, choose: Callable[[AliasEntry], int]) -> list[Link]:
        """The steps from `name` to the served name; none if it is no alias.

        An alias whose target would match it again ends there, so that `gpt-4*: gpt-4o` and the canary
        `gpt-4o: [{model: gpt-4o, weight: 9}, {model: next}]` work as written. `choose` returns the index of the target
        of an alias that has several.

        Raises `AliasCycle` and `AliasChainTooLong`, which only a key's own aliases can still cause.
        """
        links: list[Link] = []
        met: set[AliasEntry] = set()
        entry = self.find(name)
        while entry is not None:
            if entry in met:
                raise _cycle([*(link.entry for link in links), entry])
            if len(links) == LONGEST_CHAIN:
                raise _too_long(links[0].entry)
            met.add(entry)
            index = choose(entry) if len(entry.models) > 1 else 0
            target = entry.models[index].filled_from(entry.pattern, name)
            links.append(Link(name, entry, index, target))
            name, last = target, entry
            entry = self.find(name)
            if entry is last:
                break
        return links

    def __iter__(self) -> Iterator[AliasEntry]:
        for aliases in self.maps:
            yield from aliases


class AliasTable(msgspec.Struct, frozen=True, eq=False):
    """The gateway's aliases and those of its teams.

    Raises `AliasError` for an alias that cannot be read, `AliasCycle` for aliases that form a cycle,
    `AliasChainTooLong` for too many that lead to one another.
    """

    gateway: AliasView
    teams: Mapping[str, AliasView] = msgspec.field(default_factory=dict)

    @classmethod
    def parse(cls, aliases: Mapping[str, Any], teams: Mapping[str, Mapping[str, Any]] | None = None) -> Self:
        """From the configuration: `aliases`, and a mapping like it for each team."""
        shared = AliasMap.of(GATEWAY, parse_aliases(aliases))
        own = {team: AliasMap.of(f"team {team}", parse_aliases(mapping)) for team, mapping in (teams or {}).items()}
        table = cls(AliasView((shared,)), {team: AliasView((aliases, shared)) for team, aliases in own.items()})
        for view in (table.gateway, *table.teams.values()):
            check_chains(view)
        return table

    def view(self, key_id: str | None = None, team: str | None = None, aliases: Aliases | None = None) -> AliasView:
        """The view of a key with its own `aliases`. Its chains are not checked: see `check_chains`."""
        shared = self.gateway if team is None else self.teams.get(team, self.gateway)
        if not aliases:
            return shared
        return AliasView((AliasMap.of(f"key {key_id}", aliases), *shared.maps))


def check_chains(view: AliasView) -> None:
    """Raise `AliasCycle` if the resolution of any name could meet one alias twice, `AliasChainTooLong` if it could meet
    more than `LONGEST_CHAIN`.

    A target with a `*` counts as leading to every alias that it may match, so that a few tables are refused in which
    each chain would still end.
    """
    entries = list(view)
    starred = any(model.star for entry in entries for model in entry.models)
    meeting = MeetingTable((entry.pattern, entry) for entry in entries if starred)
    lengths: dict[AliasEntry, int] = {}
    for entry in entries:
        if entry not in lengths:
            _walk(view, meeting, entry, lengths)
            if lengths[entry] > LONGEST_CHAIN:
                raise _too_long(entry)


def _walk(
    view: AliasView, meeting: MeetingTable[AliasEntry], first: AliasEntry, lengths: dict[AliasEntry, int]
) -> None:
    """Note in `lengths` of how many aliases the longest chain from `first` is, and from each that it leads to."""
    path = {first: _followers(view, meeting, first)}
    lengths[first] = 1
    while path:
        entry, followers = next(reversed(path.items()))
        follower = next(followers, None)
        if follower is None:
            del path[entry]
            follower, entry = entry, next(reversed(path), entry)
        elif follower in path:
            raise _cycle([*path, follower])
        elif follower not in lengths:
            path[follower] = _followers(view, meeting, follower)
            lengths[follower] = 1
        if follower is not entry:
            lengths[entry] = max(lengths[entry], 1 + lengths[follower])


def _followers(view: AliasView, meeting: MeetingTable[AliasEntry], entry: AliasEntry) -> Iterator[AliasEntry]:
    """The aliases that may match a target of `entry`, without itself: a chain ends where it would match again."""
    for model in entry.models:
        for follower in meeting.meeting(model) if model.star else [view.find(model.text)]:
            if follower is not None and follower is not entry:
                yield follower


def _too_long(first: AliasEntry) -> AliasChainTooLong:
    name = first.pattern.text
    return AliasChainTooLong(
        f"the alias '{name}' leads through more than {LONGEST_CHAIN} aliases, one after the other", name
    )


def _cycle(path: list[AliasEntry]) -> AliasCycle:
    """For a path whose last entry is in it twice."""
    cycle = path[path.index(path[-1]) :]
    names = " -> ".join(f"'{entry.pattern.text}'" for entry in cycle)
    return AliasCycle(f"aliases form a cycle: {names}", cycle[0].pattern.text)


def names_in(table: AliasTable) -> Iterator[str]:
    """All names and patterns in a table: aliases and their targets."""
    for view in (table.gateway, *table.teams.values()):
        for entry in view:
            yield entry.pattern.text
            yield from (model.text for model in entry.models)


def pick(alias: str, weights: Sequence[int], caller: str) -> int:
    """The index of the target: always the same for a caller and an alias, spread over callers by the weights.

    A hash picks a point between 0 and the sum of the weights, so that a change of weights moves as few callers as
    possible. At least one weight is above 0.
    """
    digest = hashlib.blake2b(f"{alias}\0{caller}".encode(), digest_size=8).digest()
    point = int.from_bytes(digest) * sum(weights) >> 64
    for index, weight in enumerate(weights):
        point -= weight
        if point < 0:
            return index
    raise ValueError(f"the alias '{alias}' has no target with a weight above 0")


def caller_of(principal: Principal | None, user: str | None) -> str | None:
    """For whom a weighted alias is sticky: the key, or each of its end users that requests name. None without both."""
    if user:
        return f"{principal.key_id if principal else ''}\0{user}"
    return principal.key_id if principal else None
