"""Pattern: a model name in which one `*` may stand for any text, also for none."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Pattern:
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

    def filled_from(self, source: "Pattern", name: str) -> str:
        """This pattern with what the `*` of `source` stood for in `name`; a plain name stays as it is."""
        if not self.star:
            return self.text
        return self.before + name[len(source.before) : len(name) - len(source.after)] + self.after

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


def by_precedence(patterns: Iterable[Pattern]) -> list[Pattern]:
    """Longest first; of two equally long ones that with more before its `*`."""
    return sorted(patterns, key=lambda pattern: (-len(pattern.text), -len(pattern.before)))


class NameSet:
    """Names and patterns, such as a key's `models`."""

    __slots__ = ("_names", "_patterns")

    def __init__(self, texts: Iterable[str]) -> None:
        patterns = [Pattern.of(text) for text in texts]
        self._names = frozenset(pattern.text for pattern in patterns if not pattern.star)
        self._patterns = tuple(pattern for pattern in patterns if pattern.star)

    def __contains__(self, name: str) -> bool:
        if name in self._names:
            return True
        for pattern in self._patterns:  # noqa: SIM110  (a generator costs more than the look-up)
            if pattern.matches(name):
                return True
        return False


@lru_cache(maxsize=4096)
def name_set(texts: tuple[str, ...]) -> NameSet:
    """The `NameSet` of an allow-list, made once per list and not once per request."""
    return NameSet(texts)


class PathSet:
    """Whole paths, and with `/*` at the end all that is below one."""

    __slots__ = ("_below", "_whole")

    def __init__(self, paths: Iterable[str]) -> None:
        self._whole = frozenset(paths)
        self._below = tuple(path[:-1] for path in self._whole if path.endswith("/*"))

    def __contains__(self, path: str) -> bool:
        return path in self._whole or path.startswith(self._below)
