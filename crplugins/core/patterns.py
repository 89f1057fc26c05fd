"""Pattern: a model name in which one `*` may stand for any text, also for none."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final


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
    writes behind an `@` or the `@` that Cloudflare begins with; no scheme, query, fragment, escape, space, backslash or
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

    def names(self, path: str) -> bool:
        """Whether it is one of the whole paths."""
        return path in self._whole

    def __contains__(self, path: str) -> bool:
        return path in self._whole or path.startswith(self._below)
