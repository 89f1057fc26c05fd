"""The nearest known word to a misspelt one."""

import difflib
from collections.abc import Iterable


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
