"""Any other table: a CSV whose columns the user names, `--column tokens_in=prompt_tokens`."""

from collections.abc import Mapping
from typing import Final

from crplugins.ledger.reconcile.cells import Cells
from crplugins.ledger.reconcile.layout import Layout, Line, total
from crplugins.settings.errors import did_you_mean

FIELDS: Final = {
    "day": "a day, or a time of it",
    "model": "the model",
    "tier": "the service tier",
    "requests": "how many requests",
    "tokens_in": "input tokens, cached ones included",
    "tokens_in_uncached": "input tokens without cached and written ones",
    "tokens_cached": "of the input, read from the cache",
    "tokens_cache_write": "of the input, written to the cache",
    "tokens_out": "output tokens",
    "cost_usd": "US dollars",
}
"""What a column can hold. A column that has such a name need not be named."""

_AMOUNTS: Final = frozenset(FIELDS) - {"day", "model", "tier"}


def table_layout(columns: Mapping[str, str]) -> Layout:
    """The layout of a table whose columns are `columns`: the column of each of `FIELDS`. Raises ValueError for the
    user."""
    for field in columns:
        if field not in FIELDS:
            raise ValueError(f"knows no '{field}'{did_you_mean(field, FIELDS)}, only {', '.join(FIELDS)}")
    if "tokens_in" in columns and "tokens_in_uncached" in columns:
        raise ValueError("tokens_in and tokens_in_uncached are both the input: name one")
    names = {field: columns.get(field, field).strip().casefold() for field in FIELDS}

    def read(cells: Cells) -> Line:
        cached, written = cells.count(names["tokens_cached"]), cells.count(names["tokens_cache_write"])
        uncached = cells.count(names["tokens_in_uncached"])
        whole = cells.count(names["tokens_in"]) if uncached is None else total(uncached, cached, written)
        return Line(
            model=cells.text(names["model"]),
            tier=cells.text(names["tier"]),
            requests=cells.count(names["requests"]),
            input_tokens=whole,
            cached_input_tokens=cached,
            cache_write_input_tokens=written,
            output_tokens=cells.count(names["tokens_out"]),
            cost_pico_usd=cells.pico_usd(names["cost_usd"]),
        )

    wanted = frozenset({names["day"], *(names[field] for field in columns)})
    return Layout("table", None, wanted, (names["day"],), (), read)


def has_amounts(columns: Mapping[str, str], header: frozenset[str]) -> bool:
    """Whether a table with this header tells at least one amount."""
    return any(columns.get(field, field).strip().casefold() in header for field in _AMOUNTS)
