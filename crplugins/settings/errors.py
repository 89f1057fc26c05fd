"""ConfigError: everything wrong with a configuration, each with its key and line. Never a value: it may be a secret."""

import difflib
from collections.abc import Iterable, Mapping

import msgspec

KeyPath = tuple[str | int, ...]
"""Where a value stands: `("model_list", 0, "litellm_params", "api_base")`."""


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong.

    Attributes:
        line: counts from 1; None without a file.
        file: where it is another one than that of the configuration, which includes it.
    """

    path: KeyPath
    message: str
    line: int | None = None
    file: str | None = None

    def sentence(self, file: str | None) -> str:
        """`gateway.yaml, line 7: server.prot: unknown key, did you mean 'port'?`"""
        where = self.file or file
        place = ", ".join(part for part in (where, f"line {self.line}" if self.line else None) if part)
        return ": ".join(part for part in (place, format_path(self.path), self.message) if part)


def error_line(error: BaseException) -> str:
    """What somebody else's code has raised, for a sentence of ours."""
    return " ".join(f"{type(error).__name__}: {error}".split())


class ConfigError(ValueError):
    """A configuration that cannot be used. Its text has one line per problem.

    Attributes:
        problems: in the order of the file.
        file: its name, None for a configuration written in Python.
    """

    def __init__(self, problems: Iterable[Problem], file: str | None = None) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.file or "", problem.line or 0)))
        self.file = file
        super().__init__("\n".join(problem.sentence(file) for problem in self.problems))


class Source(msgspec.Struct, frozen=True):
    """The file a configuration was read from, and the line of each key in it.

    Attributes:
        files: of keys that stand in another file, which it includes, that file.
    """

    file: str | None = None
    lines: Mapping[KeyPath, int] = msgspec.field(default_factory=dict)
    files: Mapping[KeyPath, str] = msgspec.field(default_factory=dict)

    def error(self, problems: Iterable[Problem]) -> ConfigError:
        """The problems as an exception, each with the line of its key or of the nearest key around it."""
        return ConfigError(map(self.located, problems), self.file)

    def located(self, problem: Problem) -> Problem:
        """The problem with its line, if it has none yet."""
        if problem.line is not None:
            return problem
        line, file = self.place(problem.path)
        return msgspec.structs.replace(problem, line=line, file=file)

    def place(self, path: KeyPath) -> tuple[int | None, str | None]:
        """The line of a key or of the nearest key around it, and the file if it is an included one."""
        while path not in self.lines and path:
            path = path[:-1]
        return self.lines.get(path), self.files.get(path)


def format_path(path: KeyPath) -> str:
    """`model_list[0].litellm_params.api_base`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known word most like `word`, whatever its case and dashes; None if none is `cutoff` alike (0 to 1)."""
    plain = {_plain(k): k for k in known}
    found = difflib.get_close_matches(_plain(word), plain, n=1, cutoff=cutoff)
    return plain[found[0]] if found else None


def did_you_mean(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """`, did you mean 'api_base'?`, or nothing; see `nearest`."""
    found = nearest(word, known, cutoff)
    return f", did you mean '{found}'?" if found else ""


def _plain(word: str) -> str:
    return word.lower().replace("-", "_")
