"""Pattern: a model name in which one `*` may stand for any text, also for none."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, Generic, TypeVar

import msgspec

T = TypeVar("T")


class Pattern(msgspec.Struct, frozen=True):
    """`gpt-3.5*`, or a plain name. A second `*` is an ordinary character; `parse_aliases` refuses it."""

    text: str
    before: str
    star: bool
    after: str

    @classmethod
    def of(cls, text: str) -> "Pattern":
        before, star, after = text.partition("*")
        return cls(text, before, bool(star), after)

    def matches(self, name: str) -> bool:
        if not self.star:
            return name == self.text
        fits = name.startswith(self.before) and name.endswith(self.after)
        return fits and len(name) >= len(self.before) + len(self.after)

    def starred(self, name: str) -> str:
        """What the `*` stands for in a `name` that matches."""
        return name[len(self.before) : len(name) - len(self.after)]

    def completes(self, name: str) -> bool:
        """Whether what the `*` stands for in a `name` that matches makes a model's name of it, and no address."""
        return is_model_name(self.before.rpartition("/")[2] + self.starred(name) + self.after.partition("/")[0])

    def filled_from(self, source: "Pattern", name: str) -> str:
        """This pattern with what the `*` of `source` stood for in `name`; a plain name stays as it is."""
        if not self.star:
            return self.text
        return self.before + source.starred(name) + self.after

    def meets(self, other: "Pattern") -> bool:
        """Whether some name fits both."""
        if not (self.star and other.star):
            return self.matches(other.text) if self.star else other.matches(self.text)
        before = self.before.startswith(other.before) or other.before.startswith(self.before)
        return before and (self.after.endswith(other.after) or other.after.endswith(self.after))

    def covers(self, other: "Pattern") -> bool:
        """Whether every name that fits `other` fits this one too."""
        if not self.star or not other.star:
            return self.matches(other.text)
        return other.before.startswith(self.before) and other.after.endswith(self.after)


LONGEST_MODEL: Final = 256
"""Characters of a model's name that a client may complete."""

_NAME: Final = re.compile(r"@?[A-Za-z0-9_][A-Za-z0-9_.:+=-]*(?:@[A-Za-z0-9_-]+)?", re.ASCII)
_ARN: Final = re.compile(r"arn:aws[a-z-]*:[a-z0-9-]+:[a-z0-9-]*:[0-9]*:[A-Za-z0-9_./:-]+")
_SCHEME: Final = re.compile(r"(?<![A-Za-z0-9])(?:https?|wss?|ftp|file):", re.IGNORECASE)


def is_model_name(text: str) -> bool:
    """Whether `text` can be the name of a model and nothing else.

    A name is written into addresses by providers (`/models/NAME:generateContent`), and a few take a name that looks
    like an address for one. So it has segments of letters, digits and `_ . : + = -`, with the version that Google
    writes after an `@` or the `@` that Cloudflare begins with; no scheme, query, fragment, escape, space, backslash or
    segment of dots alone.
    """
    if len(text) > LONGEST_MODEL or _SCHEME.search(text) is not None:
        return False
    _, arn, rest = text.partition("arn:")
    if arn and _ARN.fullmatch(arn + rest) is None:
        return False
    return all(_NAME.fullmatch(segment) is not None for segment in text.split("/"))


def by_precedence(patterns: Iterable[Pattern]) -> list[Pattern]:
    """Longest first; of two equally long ones that with more before its `*`."""
    return sorted(patterns, key=lambda pattern: (-len(pattern.text), -len(pattern.before)))


_LAST: Final = 1 << 62


class PatternTable(Generic[T]):
    """Finds the first of many patterns that matches a name, without a look at those that do not.

    What stands before the `*` is looked up by each length that it has in the table, and what stands after it likewise:
    the work depends on how many lengths there are and on how many patterns match, not on how many there are.

    Args:
        patterns: each with what it stands for, in order of precedence. All have a `*`.
    """

    __slots__ = ("_by_before", "_lengths")

    def __init__(self, patterns: Iterable[tuple[Pattern, T]]) -> None:
        ranked: dict[str, dict[str, tuple[int, T]]] = {}
        for rank, (pattern, value) in enumerate(patterns):
            ranked.setdefault(pattern.before, {}).setdefault(pattern.after, (rank, value))
        self._by_before: Final = {before: (_lengths(after), after) for before, after in ranked.items()}
        self._lengths: Final = _lengths(ranked)

    def find(self, name: str) -> T | None:
        """What the first pattern that matches `name` stands for."""
        size, best, found = len(name), _LAST, None
        for length in self._lengths:
            if length > size:
                break
            if (ends := self._by_before.get(name[:length])) is None:
                continue
            for end in ends[0]:
                if end > size - length:
                    break
                entry = ends[1].get(name[size - end :])
                if entry is not None and entry[0] < best:
                    best, found = entry
        return found


def _lengths(texts: Mapping[str, object]) -> tuple[int, ...]:
    return tuple(sorted({len(text) for text in texts}))


class MeetingTable(Generic[T]):
    """Finds those of many names and patterns that some name fits as well as a given pattern.

    Args:
        items: each with its name or pattern.
    """

    __slots__ = ("_by_after", "_by_before")

    def __init__(self, items: Iterable[tuple[Pattern, T]]) -> None:
        entries = [_Entry(number, pattern, item) for number, (pattern, item) in enumerate(items)]
        self._by_before: Final = _Prefixes((entry.pattern.before, entry) for entry in entries)
        self._by_after: Final = _Prefixes((_end_of(entry.pattern), entry) for entry in entries)

    def meeting(self, pattern: Pattern) -> list[T]:
        """In the order that they were given in. Of both ends of `pattern` the one is used that fewer share."""
        ends = (self._by_before, pattern.before), (self._by_after, _end_of(pattern))
        found = [(prefixes, prefixes.related(text)) for prefixes, text in ends]
        prefixes, fewest = min(found, key=lambda each: sum(map(len, each[1])))
        entries = [entry for places in fewest for entry in prefixes.entries[places.start : places.stop]]
        return [entry.item for entry in sorted(entries, key=_number_of) if entry.pattern.meets(pattern)]


class _Entry(msgspec.Struct, Generic[T], frozen=True, eq=False):
    number: int
    pattern: Pattern
    item: T


def _number_of(entry: _Entry[Any]) -> int:
    return entry.number


def _end_of(pattern: Pattern) -> str:
    """Backwards what every name that fits must end with."""
    return (pattern.after if pattern.star else pattern.text)[::-1]


class _Prefixes(Generic[T]):
    """Entries by a text, in its order."""

    __slots__ = ("_first", "_texts", "entries")

    def __init__(self, entries: Iterable[tuple[str, _Entry[T]]]) -> None:
        ordered = sorted(entries, key=lambda each: each[0])
        self.entries: Final = [entry for _, entry in ordered]
        self._texts: Final = [text for text, _ in ordered]
        self._first: Final = {text: first for first, text in reversed([*enumerate(self._texts)])}

    def related(self, text: str) -> list[range]:
        """Where in `entries` those stand whose text begins with `text`, and those with a text that it begins with."""
        size, first = len(text), bisect_left(self._texts, text)
        beginning = range(first, bisect_right(self._texts, text, lo=first, key=lambda other: other[:size]))
        shorter = [text[:length] for length in range(size) if text[:length] in self._first]
        return [beginning, *(range(self._first[each], bisect_right(self._texts, each)) for each in shorter)]


class NameSet:
    """Names and patterns, such as a key's `models`."""

    __slots__ = ("_names", "_patterns")

    def __init__(self, texts: Iterable[str]) -> None:
        patterns = [Pattern.of(text) for text in texts]
        self._names = frozenset(pattern.text for pattern in patterns if not pattern.star)
        starred = [(pattern, True) for pattern in patterns if pattern.star]
        self._patterns = PatternTable(starred) if starred else None

    def __contains__(self, name: str) -> bool:
        return name in self._names or (self._patterns is not None and self._patterns.find(name) is not None)

    def meets(self, names: Sequence[str]) -> bool:
        """Whether any of these is in it."""
        if not self._names.isdisjoint(names):
            return True
        return self._patterns is not None and any(self._patterns.find(name) is not None for name in names)


@lru_cache(maxsize=4096)
def name_set(texts: tuple[str, ...]) -> NameSet:
    """The `NameSet` of an allow-list, made once per list and not once per request."""
    return NameSet(texts)


_DOT_SEGMENT: Final = re.compile(r"(?:[/\\]|%2f|%5c)(?:\.|%2e){1,2}(?:[/\\;]|%2f|%5c|\Z)", re.IGNORECASE)
"""What leads out of the place that a path begins with, also to those who decode it once more."""


class PathSet:
    """Whole paths, and with `/*` at the end all that is below one: not what only begins so and climbs out of it."""

    __slots__ = ("_below", "_whole")

    def __init__(self, paths: Iterable[str]) -> None:
        self._whole = frozenset(paths)
        self._below = tuple(path[:-1] for path in self._whole if path.endswith("/*"))

    def names(self, path: str) -> bool:
        """Whether it is one of the whole paths."""
        return path in self._whole

    def __contains__(self, path: str) -> bool:
        return path in self._whole or (path.startswith(self._below) and _DOT_SEGMENT.search(path) is None)
