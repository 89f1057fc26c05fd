"""Anthropic's exports: usage and cost, as CSV from the Console and as JSON from the Admin API.

JSON: https://platform.claude.com/docs/en/api/admin/usage_report/retrieve_messages, whose input is split into uncached,
read from the cache, and written to it for 5 minutes or an hour; and .../api/admin/cost_report/retrieve, whose `amount`
is in cents: "123.45" is $1.23. The CSV files of the Usage and Cost pages of the Console, which
https://support.claude.com/en/articles/9534590 describes, call models by their ids in the one and by their names
("Claude Haiku 4.5") in the other, and round each cost to the cent. None of them counts requests. All days are in UTC.
"""

from typing import Final

from crplugins.ledger.reconcile.cells import Cells
from crplugins.ledger.reconcile.layout import Layout, Line, total

_CENT: Final = 10_000
_STARTS: Final = ("starting_at", "usage_date_utc")
_ENDS: Final = ("ending_at",)


def _tier(cells: Cells, column: str) -> str:
    """Fast mode is a tier of its own. The cost file says `message` where the usage file says `standard`."""
    if cells.text("speed").casefold() == "fast":
        return "fast"
    tier = cells.text(column).casefold()
    return "batch" if "batch" in tier else "" if tier == "message" else tier


def _console_usage(cells: Cells) -> Line:
    cached = cells.count("usage_input_tokens_cache_read")
    written = total(
        cells.count("usage_input_tokens_cache_write_5m"),
        cells.count("usage_input_tokens_cache_write_1h"),
        cells.count("usage_input_tokens_cache_write"),
    )
    return Line(
        model=cells.text("model_version"),
        tier=_tier(cells, "usage_type"),
        input_tokens=total(cells.count("usage_input_tokens_no_cache"), cached, written),
        cached_input_tokens=cached,
        cache_write_input_tokens=written,
        output_tokens=cells.count("usage_output_tokens"),
    )


def _console_cost(cells: Cells) -> Line:
    model = cells.text("model") or cells.text("cost_type")
    return Line(model=model, tier=_tier(cells, "usage_type"), cost_pico_usd=cells.pico_usd("cost_usd"))


def _api_usage(cells: Cells) -> Line:
    cached = cells.count("cache_read_input_tokens")
    written = total(
        cells.count("cache_creation_ephemeral_5m_input_tokens"), cells.count("cache_creation_ephemeral_1h_input_tokens")
    )
    return Line(
        model=cells.text("model"),
        tier=_tier(cells, "service_tier"),
        input_tokens=total(cells.count("uncached_input_tokens"), cached, written),
        cached_input_tokens=cached,
        cache_write_input_tokens=written,
        output_tokens=cells.count("output_tokens"),
    )


def _api_cost(cells: Cells) -> Line:
    currency = cells.text("currency").casefold()
    if currency != "usd":
        raise cells.fault("currency", f"must be USD, not {currency[:10]!r}")
    return Line(
        model=cells.text("model") or cells.text("description"),
        tier=_tier(cells, "service_tier"),
        cost_pico_usd=cells.pico_usd("amount", in_cents=True),
    )


CONSOLE_USAGE: Final = Layout(
    "Anthropic usage",
    "anthropic",
    frozenset({"usage_date_utc", "usage_input_tokens_no_cache", "usage_output_tokens"}),
    _STARTS,
    _ENDS,
    _console_usage,
)
CONSOLE_COST: Final = Layout(
    "Anthropic cost",
    "anthropic",
    frozenset({"usage_date_utc", "cost_usd"}),
    _STARTS,
    _ENDS,
    _console_cost,
    cost_step=_CENT,
)
API_USAGE: Final = Layout(
    "Anthropic usage report",
    "anthropic",
    frozenset({"uncached_input_tokens", "output_tokens"}),
    _STARTS,
    _ENDS,
    _api_usage,
)
API_COST: Final = Layout(
    "Anthropic cost report", "anthropic", frozenset({"amount", "currency"}), _STARTS, _ENDS, _api_cost
)
