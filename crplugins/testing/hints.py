"""What a user's text offers as values: the numbers and the quoted words in it."""

from __future__ import annotations

import re
from collections import deque

_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?![\w])")
# A quote opens after a non-word and closes before one, so that the apostrophes of "what's" and "it's" are no pair.
_QUOTED = re.compile(r"(?<!\w)'([^'\n]+)'(?!\w)|\"([^\"\n]+)\"|`([^`\n]+)`|“([^”\n]+)”")


class Hints:
    """Values found in a text, each handed out once and in the order of the text.

    `Hints("add 3 to 'basket'")` gives the integer 3 and the string "basket", then None.
    """

    def __init__(self, text: str = "") -> None:
        self.quoted = deque(next(filter(None, groups)) for groups in _QUOTED.findall(text))
        self.numbers = deque(_NUMBER.findall(text))

    def integer(self) -> int | None:
        """The next number if it is a whole one."""
        if not self.numbers or "." in self.numbers[0]:
            return None
        return int(self.numbers.popleft())

    def number(self) -> float | None:
        """The next number."""
        return float(self.numbers.popleft()) if self.numbers else None

    def string(self) -> str | None:
        """The next quoted word or phrase."""
        return self.quoted.popleft() if self.quoted else None
