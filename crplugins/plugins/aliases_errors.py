"""Takes model names out of error texts, as whole names only."""

import re
from collections.abc import Iterable
from typing import Final

import msgspec

_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_NOT_AFTER: Final = r"(?<![\w:.-])"
_NOT_BEFORE: Final = r"(?![\w/-]|[.:]\w)"
_QUOTES: Final = "`'\"\u2018\u2019\u201c\u201d"
_string = msgspec.json.Decoder(str)


class NameScrubber:
    """Replaces each of `names` by `replacement`.

    `gpt-4` is not a name in `gpt-4-turbo`, `gpt-4.1` or `ft:gpt-4:acme`; it is one at the end of a sentence and behind
    a provider (`openai/gpt-4`). A name that reads like a word (`large`) counts only in quotes or behind `model`, since
    a request may also be too large.
    """

    __slots__ = ("_pattern", "_replacement")

    def __init__(self, names: Iterable[str], replacement: str) -> None:
        others = [_whole(name) for name in sorted(names, key=len, reverse=True) if name != replacement]
        own = f"{_NOT_AFTER}{re.escape(replacement)}{_NOT_BEFORE}"  # first: it may hold one of the others
        self._pattern = re.compile("|".join([own, *others])) if others else None
        self._replacement = replacement

    def scrub(self, document: bytes) -> bytes:
        """The JSON with each of its strings scrubbed; strings without a name keep their bytes."""
        if self._pattern is None:
            return document
        return _STRING.sub(self._scrub_string, document)

    def text(self, text: str) -> str:
        return text if self._pattern is None else self._pattern.sub(lambda _: self._replacement, text)

    def _scrub_string(self, match: re.Match[bytes]) -> bytes:
        try:
            text = _string.decode(match[0])
        except (msgspec.DecodeError, UnicodeDecodeError):
            return match[0]
        scrubbed = self.text(text)
        return match[0] if scrubbed == text else msgspec.json.encode(scrubbed)


_NAMED: Final = f"(?:(?<=[{_QUOTES}/])|(?<=[Mm]odel )|(?<=[Mm]odel: )|(?<=[Mm]odel=)|\\A)"


def _whole(name: str) -> str:
    return f"{_NAMED if name.isalpha() else _NOT_AFTER}{re.escape(name)}{_NOT_BEFORE}"
