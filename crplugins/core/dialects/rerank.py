"""Rerank (Cohere, Jina, Voyage, vLLM): documents in the order in which they fit a query.

Jina, Voyage and vLLM count tokens in `usage`; Cohere has them in `meta.tokens`, beside the searches it bills.
"""

from collections.abc import Mapping
from typing import Any, Final

from crplugins.core.dialects.counted import Counted
from crplugins.core.lenient_json import struct_of_what_fits
from crplugins.core.reported_usage import ReportedUsage


class Rerank(Counted):
    """`POST /v1/rerank`."""

    name = "rerank"
    path = "/rerank"
    prompt = ("documents", "query")
    answers = ("results", "data")

    def usage(self, told: Mapping[str, Any]) -> ReportedUsage | None:
        meta = told.get("meta")
        if isinstance(meta, dict) and "usage" not in told:
            return struct_of_what_fits(meta.get("tokens"), ReportedUsage)
        return super().usage(told)


RERANK: Final = Rerank()
