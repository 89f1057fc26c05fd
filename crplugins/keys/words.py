"""Words: a mapping of the configuration being read, value by value.

Nothing found wrong is raised where it is met; all of it is collected with its place. No message shows a value: it may
be a secret.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time
from typing import Any, NamedTuple

KeyPath = tuple[str | int, ...]
"""Where a value stands: `("keys", 0, "limits", "tokens_per_minute")`."""


class WordProblem(NamedTuple):
    path: KeyPath
    message: str


class WordsRefused(ValueError):
    """A configuration of keys that cannot be used. Its text has one line per problem, `problems` their places."""

    def __init__(self, problems: Iterable[WordProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(f"{spell_path(p.path)}: {p.message}".removeprefix(": ") for p in self.problems))


class Words:
    """Each method reads one key; None for one that is not given or is wrong.

    Args:
        known: the keys there are. A misspelt one is a problem; another unknown one only if `strict`.
        problems: where problems go; shared by everything read together.
    """

    def __init__(
        self, value: Any, known: Iterable[str], path: KeyPath, problems: list[WordProblem], *, strict: bool = True
    ) -> None:
        self.path, self.problems = path, problems
        self._values: Mapping[Any, Any] = value if isinstance(value, Mapping) else {}
        if not isinstance(value, Mapping):
            self.refuse(None, f"must be a mapping{_but_is(value)}")
        self._find_unknown(list(known), strict)

    def _find_unknown(self, known: list[str], strict: bool) -> None:  # noqa: FBT001  # the constructor's
        for name in map(str, self._values):
            if name not in known:
                near = difflib.get_close_matches(name.lower().replace("-", "_"), known, n=1, cutoff=0.75)
                if near or strict:
                    meant = f", did you mean '{near[0]}'?" if near else f", known are {', '.join(sorted(known))}"
                    self.refuse(name, f"unknown key{meant}")

    def __contains__(self, name: str) -> bool:
        return self._values.get(name) is not None

    def refuse(self, name: str | int | None, message: str) -> None:
        """Note a problem of the key `name`, or of the whole mapping."""
        self.problems.append(WordProblem(self.path if name is None else (*self.path, name), message))

    def raw(self, name: str) -> Any:
        return self._values.get(name)

    def text(self, name: str) -> str | None:
        value = self.raw(name)
        if value is None or (isinstance(value, str) and value):
            return value
        self.refuse(name, "must not be empty" if value == "" else f"must be text{_but_is(value)}")
        return None

    def one_of(self, name: str, choices: Sequence[str]) -> str | None:
        value = self.raw(name)
        if value is not None and value not in choices:
            self.refuse(name, f"must be one of {', '.join(choices)}")
            return None
        return None if value is None else str(value)

    def required_text(self, name: str) -> str:
        """Empty if it is missing or wrong."""
        if self.raw(name) is None:
            self.refuse(name, "is missing")
        return self.text(name) or ""

    def flag(self, name: str, *, default: bool) -> bool:
        value = self.raw(name)
        if value is not None and not isinstance(value, bool):
            self.refuse(name, f"must be true or false{_but_is(value)}")
        return value if isinstance(value, bool) else default

    def count(self, name: str) -> int | None:
        """A whole number above 0."""
        value = self.raw(name)
        if value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
            return value
        wrong_size = isinstance(value, int) and not isinstance(value, bool)
        self.refuse(name, "must be more than 0" if wrong_size else f"must be a whole number{_but_is(value)}")
        return None

    def seconds(self, name: str, default: float) -> float:
        """A number of 0 or more."""
        value = self.raw(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
            self.refuse(name, "must be a number of seconds, 0 or more")
            return default
        return float(value)

    def moment(self, name: str) -> datetime | None:
        """`2027-01-01` is its first instant; without a zone it is UTC."""
        value = self.raw(name)
        moment = read_moment(value)
        if moment is None and value is not None:
            self.refuse(name, "must be a date such as 2027-01-01 or a time such as 2027-01-01T18:00:00Z")
        return moment

    def texts(self, name: str) -> tuple[str, ...] | None:
        value = self.raw(name)
        if value is None:
            return None
        if isinstance(value, str) or not isinstance(value, Sequence) or not all(_is_text(item) for item in value):
            self.refuse(name, f"must be a list of texts{_but_is(value)}")
            return None
        return tuple(value)

    def items(self, name: str) -> Sequence[Any]:
        """A list of anything; empty if it is not given."""
        value = self.raw(name)
        if value is None or isinstance(value, list | tuple):
            return value or ()
        self.refuse(name, f"must be a list{_but_is(value)}")
        return ()

    def mapping(self, name: str) -> Mapping[str, Any]:
        """A mapping with any keys; empty if it is not given."""
        value = self.raw(name)
        if value is None or isinstance(value, Mapping):
            return value or {}
        self.refuse(name, f"must be a mapping{_but_is(value)}")
        return {}


def read_moment(value: Any) -> datetime | None:
    """The instant of a date, a datetime or their ISO 8601 texts, in UTC; None for anything else."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    return datetime.combine(value, time(), UTC) if isinstance(value, date) else None


def spell_path(path: KeyPath) -> str:
    """`keys[0].limits.tokens_per_minute`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _but_is(value: Any) -> str:
    kinds = {bool: "true or false", int: "a number", float: "a number", str: "text", Mapping: "a mapping"}
    kinds |= {list: "a list", tuple: "a list"}
    return next((f", not {name}" for kind, name in kinds.items() if isinstance(value, kind)), "")
