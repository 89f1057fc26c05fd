"""OpenAI's exports: usage and costs, as CSV from the dashboard and as JSON from the administration API.

Usage: https://platform.openai.com/docs/api-reference/usage/completions. `input_tokens` include the cached ones, and
`model`, `batch` and `service_tier` are null unless one groups by them. Costs: .../api-reference/usage/costs, whose
`line_item` is `gpt-5-2025-08-07, cached input` if one groups by it. The dashboard's Export button writes the same
fields as CSV, `amount_value` for `amount.value`, with counts such as `59200.0` and a line without values for a day
without usage: https://help.openai.com/en/articles/8554956-understanding-your-api-usage. All times are in UTC.
"""

from typing import Final

from crplugins.ledger.reconcile.cells import Cells
from crplugins.ledger.reconcile.layout import Layout, Line

_STARTS: Final = ("start_time", "start_time_iso")
_ENDS: Final = ("end_time", "end_time_iso")
_TIERS: Final = frozenset({"batch", "flex", "priority", "scale"})
_MODALITIES: Final = frozenset({"text", "audio", "image", "cached"})


def _usage(cells: Cells) -> Line:
    batch = cells.text("batch").casefold() == "true"
    return Line(
        model=cells.text("model"),
        tier="batch" if batch else cells.text("service_tier"),
        requests=cells.count("num_model_requests"),
        input_tokens=cells.count("input_tokens"),
        cached_input_tokens=cells.count("input_cached_tokens"),
        cache_write_input_tokens=cells.count("input_cache_write_tokens"),
        output_tokens=cells.count("output_tokens"),
    )


def _costs(cells: Cells) -> Line:
    currency = cells.text("amount_currency").casefold()
    if currency not in ("", "usd"):
        raise cells.fault("amount_currency", f"must be USD, not {currency[:10]!r}")
    model, tier = model_and_tier(cells.text("line_item"))
    return Line(model=model, tier=tier, cost_pico_usd=cells.pico_usd("amount_value"))


def model_and_tier(line_item: str) -> tuple[str, str]:
    """`gpt-image-1 image, cached input` is of `gpt-image-1`, `gpt-5, batch input` of the tier batch of `gpt-5`.

    A line item without a comma, such as `Web search tool calls`, is no model's, and is kept whole.
    """
    model, comma, kind = line_item.partition(", ")
    if not comma:
        return line_item, ""
    words = model.split()
    while len(words) > 1 and words[-1].casefold() in _MODALITIES | _TIERS:
        kind += f" {words.pop()}"
    tier = next((word for word in kind.casefold().split() if word in _TIERS), "")
    return " ".join(words), tier


USAGE: Final = Layout(
    "OpenAI usage", "openai", frozenset({"num_model_requests", "input_tokens", "output_tokens"}), _STARTS, _ENDS, _usage
)
COSTS: Final = Layout("OpenAI costs", "openai", frozenset({"amount_value"}), _STARTS, _ENDS, _costs)
