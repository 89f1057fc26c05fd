"""PriceTable: litellm's list of models and what they cost, read without importing litellm."""

import logging
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from sys import intern
from typing import Any, Final, Self

import msgspec

from crplugins.core.usage import Price
from crplugins.ledger.pricing_names import fits, names_of
from crplugins.ledger.pricing_rates import price_of

logger = logging.getLogger("crplugins.pricing")

_FILE: Final = "model_prices_and_context_window_backup.json"
_WORDS: Final = (b"cost_per_token", b'"alias_of"')
_EXPLANATION: Final = "sample_spec"
"""The entry that explains the others."""

# Fireworks halves the price of cached input wherever it names none; the table leaves that out.
_HALF_WHEN_CACHED: Final = frozenset({"fireworks_ai"})


class PriceTable:
    """Prices by model. A look-up tries a few names in a dict, and never reads a file.

    Args:
        entries: name, provider (None for any) and price of each model.
    """

    def __init__(self, entries: Iterable[tuple[str, str | None, Price]] = ()) -> None:
        self._entries = {name.lower(): (provider, price) for name, provider, price in entries}

    @classmethod
    def load(cls, file: Path | None = None) -> Self:
        """The table of the installed litellm, or the one in `file`; empty where there is none.

        Blocks for 0.1 s. Raises OSError for a file that cannot be read, ValueError for one that is no such table.
        """
        found = _installed() if file is None else file
        return cls(() if found is None else _read(found.read_bytes()))

    def find(self, model: str) -> Price | None:
        """The price of a model in LiteLLM's notation; None if it is not listed, or not priced by tokens."""
        for provider, name in names_of(model):
            found = self._entries.get(name.lower())
            if found is not None and fits(provider, found[0]):
                return found[1]
        return None

    def __len__(self) -> int:
        return len(self._entries)


@cache
def litellm_prices() -> PriceTable:
    """The installed litellm's table, read on the first call; one per process, because it takes a megabyte."""
    return PriceTable.load()


def _installed() -> Path | None:
    """Beside litellm's own files: importing it takes 2.5 s and 170 MB."""
    spec = find_spec("litellm")
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin).with_name(_FILE)
    return file if file.exists() else None


def _read(document: bytes) -> Iterable[tuple[str, str | None, Price]]:
    """One entry at a time: decoded as a whole the document takes ten times the memory of the prices in it."""
    same: dict[Price, Price] = {}  # most models share their price with others
    read: dict[str, tuple[str | None, Price]] = {}
    other_names: list[tuple[str, str]] = []
    for name, raw in msgspec.json.decode(document, type=dict[str, msgspec.Raw]).items():
        if name == _EXPLANATION or not any(word in bytes(raw) for word in _WORDS):
            continue
        try:
            entry = msgspec.json.decode(raw, type=dict[str, Any])
            other_names += _other_names(name, entry)
            price = _price(entry)
        except (ValueError, TypeError) as error:  # the next release may write it otherwise
            logger.warning("litellm's price of %s cannot be read: %s", name, error)
            continue
        if price is not None:
            provider = entry.get("litellm_provider")
            read[name] = intern(provider) if isinstance(provider, str) else None, same.setdefault(price, price)
    read |= {alias: read[name] for alias, name in other_names if name in read and alias not in read}
    return [(name, *found) for name, found in read.items()]


def _other_names(name: str, entry: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(other name, name) as either of them may say it: `claude-opus-latest` is the newest release of Opus."""
    pointed_at = entry.get("alias_of")
    if isinstance(pointed_at, str):
        return [(name, pointed_at)]
    aliases = entry.get("aliases")
    return [(alias, name) for alias in aliases if isinstance(alias, str)] if isinstance(aliases, list) else []


def _price(entry: Mapping[str, Any]) -> Price | None:
    if entry.get("litellm_provider") in _HALF_WHEN_CACHED and "input_cost_per_token" in entry:
        entry = {"cache_read_input_token_cost": entry["input_cost_per_token"] / 2, **entry}
    return price_of(entry)
