"""Rerank (Cohere, Jina, Voyage, vLLM): documents in the order in which they fit a query.

Jina, Voyage and vLLM count tokens in `usage`; Cohere has them in `meta.tokens`, beside the searches it bills.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from crplugins.core.body import Body
from crplugins.core.dialects.counted import Counted, Members
from crplugins.core.lenient_json import struct_of_what_fits
from crplugins.core.reported_usage import ReportedUsage
from crplugins.core.units import NO_UNITS, Units

_DOCUMENTS: Final = 100
"""That Cohere charges as one query; a long one counts as several, which only its answer tells."""

_MOST_QUERIES: Final = 10_000


class Rerank(Counted):
    """`POST /v1/rerank`, and `/v2/rerank`, where Cohere's present client asks, and vLLM answers too."""

    name = "rerank"
    path = "/rerank"
    other_paths = ("/v2/rerank",)
    prompt = ("documents", "query")
    answers = ("results", "data")

    def asked_units(self, body: Body) -> Units:
        return Units(queries=max(-(-len(body.get("documents", list[msgspec.Raw]) or ()) // _DOCUMENTS), 1))

    def made(self, told: Mapping[str, Any], members: Members) -> Units:
        meta = told.get("meta")
        billed = meta.get("billed_units") if isinstance(meta, dict) else None
        number = billed.get("search_units") if isinstance(billed, dict) else None
        if not isinstance(number, int | float) or not 0 < number <= _MOST_QUERIES:
            return NO_UNITS
        return Units(queries=round(number))

    def usage(self, told: Mapping[str, Any]) -> ReportedUsage | None:
        meta = told.get("meta")
        if isinstance(meta, dict) and told.get("usage") is None:
            return struct_of_what_fits(meta.get("tokens"), ReportedUsage)
        return super().usage(told)


RERANK: Final = Rerank()
