"""The words of a question, and those of its answer: the same on the command line and over HTTP."""

from collections.abc import Collection
from typing import Any

from crplugins.ledger.question import GROUPS, Sums


def read_groups(text: str, allowed: Collection[str] = GROUPS) -> list[str]:
    """`key,model` as names of `GROUPS`. Raises ValueError with a sentence for the user."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in allowed:
            raise ValueError(f"knows no '{name}', only {', '.join(allowed)}")
    if len(set(names)) < len(names):
        raise ValueError("names something twice")
    return names


def describe(sums: Sums) -> dict[str, Any]:
    """Plain data for JSON."""
    return {
        **sums.group,
        "requests": sums.requests,
        "errors": sums.errors,
        "input_tokens": sums.input_tokens,
        "output_tokens": sums.output_tokens,
        "cached_input_tokens": sums.cached_input_tokens,
        "cache_write_input_tokens": sums.cache_write_input_tokens,
        "reasoning_output_tokens": sums.reasoning_output_tokens,
        "cost_usd": cost_usd(sums),
        "unpriced_requests": sums.unpriced_requests,
        "estimated_requests": sums.estimated_requests,
    }


def cost_usd(sums: Sums) -> float | None:
    """Of the requests whose price is known; None where some cost nobody knows what and the rest nothing."""
    if sums.unpriced_requests and not sums.cost_micro_usd:
        return None
    return sums.cost_micro_usd / 1_000_000
