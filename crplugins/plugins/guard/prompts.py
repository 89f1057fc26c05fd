"""The check of a prompt of completions and of the input of embeddings."""

from typing import Final

import msgspec

from crplugins.core.errors import invalid_type, kind
from crplugins.plugins.guard.checks import items_of
from crplugins.plugins.guard.refusals import empty, too_long

EXPECTED: Final = "a string, an array of strings, an array of token integers, or an array of token integer arrays"

_NUMBERS: Final = b"0123456789, \t\r\n"


class Prompts(msgspec.Struct, frozen=True):
    """A text, a list of texts, the numbers of its tokens, or a list of such lists.

    Attributes:
        shortest: characters that each text has at least.
        most: how many texts or lists there may be.
        pictures: an object may stand for a text, as vLLM takes pictures.
    """

    shortest: int = 0
    most: int | None = None
    pictures: bool = False

    def __call__(self, path: str, raw: bytes) -> None:
        if raw[:1] == b'"':
            if len(raw) - 2 < self.shortest:
                raise empty(path, "string", self.shortest)
            return
        if _is_numbers(raw):
            return
        items = items_of(path, raw, EXPECTED)
        if not items:
            raise empty(path, "array", 1)
        if self.most is not None and len(items) > self.most:
            raise too_long(path, "array", self.most, len(items))
        kinds = set[str]()
        for index, item in enumerate(items):
            self._item(f"{path}[{index}]", value := bytes(item))
            kinds.add(kind(value))
        if len(kinds) > 1 and "an object" not in kinds:
            raise invalid_type(path, EXPECTED, raw)

    def _item(self, path: str, raw: bytes) -> None:
        if raw[:1] == b'"':
            if len(raw) - 2 < self.shortest:
                raise empty(path, "string", self.shortest)
        elif not _is_numbers(raw) and kind(raw) != "an integer" and not (self.pictures and raw[:1] == b"{"):
            raise invalid_type(path, "a string or an array of token integers", raw)


def _is_numbers(raw: bytes) -> bool:
    """Whether a JSON value is a list of numbers, and not an empty one. Nothing is done for each of them."""
    return raw[:1] == b"[" and raw[1:2] != b"]" and not raw[1:-1].translate(None, _NUMBERS)
