"""ConfigError: everything wrong with a configuration, each with its key and line. Never a value: it may be a secret."""

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

KeyPath = tuple[str | int, ...]
"""Where a value stands: `("model_list", 0, "litellm_params", "api_base")`."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. `line` counts from 1; None without a file."""

    path: KeyPath
    message: str
    line: int | None = None

    def sentence(self, file: str | None) -> str:
        """`gateway.yaml, line 7: server.prot: unknown key, did you mean 'port'?`"""
        place = ", ".join(part for part in (file, f"line {self.line}" if self.line else None) if part)
        return ": ".join(part for part in (place, format_path(self.path), self.message) if part)


def one_line(error: BaseException) -> str:
    """What somebody else's code has raised, for a sentence of ours."""
    return " ".join(f"{type(error).__name__}: {error}".split())


class ConfigError(ValueError):
    """A configuration that cannot be used. Its text has one line per problem.

    Attributes:
        problems: in the order of the file.
        file: its name, None for a configuration written in Python.
    """

    def __init__(self, problems: Iterable[Problem], file: str | None = None) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: problem.line or 0))
        self.file = file
        super().__init__("\n".join(problem.sentence(file) for problem in self.problems))


@dataclass(frozen=True, slots=True)
class Source:
    """The file a configuration was read from, and the line of each key in it."""

    file: str | None = None
    lines: Mapping[KeyPath, int] = field(default_factory=dict)

    def error(self, problems: Iterable[Problem]) -> ConfigError:
        """The problems as an exception, each with the line of its key or of the nearest key around it."""
        return ConfigError([dataclasses.replace(p, line=p.line or self._line(p.path)) for p in problems], self.file)

    def _line(self, path: KeyPath) -> int | None:
        while path not in self.lines and path:
            path = path[:-1]
        return self.lines.get(path)


def format_path(path: KeyPath) -> str:
    """`model_list[0].litellm_params.api_base`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known word most like `word`, whatever its case and dashes; None if none is `cutoff` alike (0 to 1)."""
    plain = {_plain(k): k for k in known}
    found = difflib.get_close_matches(_plain(word), plain, n=1, cutoff=cutoff)
    return plain[found[0]] if found else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`, did you mean 'api_base'?`, or nothing."""
    found = nearest(word, known)
    return f", did you mean '{found}'?" if found else ""


def _plain(word: str) -> str:
    return word.lower().replace("-", "_")
