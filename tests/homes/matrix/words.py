"""The configuration that every home is given, in the words of the YAML file. Each behaviour has a key of its own."""

from pathlib import Path
from typing import Any

from tests.homes.matrix.witness import entries

SERVED, ALIAS, HIDDEN = "fake-model", "fast", "other-model"
"""What the provider serves, what clients call it, and a second one that not every key may call."""

UNPRICED, UNPRICED_ALIAS = "unpriced-model", "newest"
"""A third one whose price nobody knows."""

REQUESTS, SLOTS = 3, 1
MAX_BODY = 100_000
MAX_IN_FLIGHT, LOW_PLACES = 12, 9
"""More than any other test has at once; of these, what is left to a key of low priority."""
UPSTREAM_KEY = "sk-upstream-key-9876543210"
PRICES = {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}
METRICS_PATH = "/crplugins/metrics"

LIMITS: dict[str, dict[str, Any]] = {
    "limited": {"requests_per_minute": REQUESTS, "tokens_per_minute": 100_000},
    "long": {"tokens_per_minute": 1_500},
    "patient": {"requests_per_minute": 30, "burst": {"requests_per_minute": 1}, "queue": {"seconds": 60}},
    "leaver": {"max_parallel_requests": SLOTS},
    "unlucky": {"max_parallel_requests": SLOTS},
    "cached": {"requests_per_day": 1000, "tokens_per_day": 1_000_000},
}
BUDGETS = {"poor": {"usd": 0.001, "period": "day"}, "careful": {"usd": 1, "period": "day"}}
USER_REQUESTS, SESSION_REQUESTS = 2, 3
SCOPES: dict[str, Any] = {
    "per_user": {"requests_per_day": USER_REQUESTS},
    "per_session": {"requests": SESSION_REQUESTS},
    "identity": {"missing_user": "ignore", "missing_session": "ignore"},
}
"""Limits of those who say who they are, and of nobody else."""

SESSION_BUDGET = {"per_session": {"usd": 0.003}}

POLICIES: dict[str, dict[str, Any]] = {
    "caller": {},
    "expired": {"expires": "2020-01-01"},
    "renamer": {},
    "narrow": {"models": [ALIAS]},
    "streamer": {},
    "recorded": {"team": "search"},
    "polyglot": {},
    **{name: {} for name in ("rerank", "moderations", "images", "image_edits", "image_variations")},
    **{name: {} for name in ("transcriptions", "translations", "speech")},
    "uncounted": {},
    "counted": {},
    "cut": {},
    "large": {},
    "broken": {},
    "many": {},
    "odd": {},
    "calls": {},
    "early": {},
    "early-free": {"missing_usage": "free"},
    "app": {},
    "agent": {},
    "spender": {},
    "nightly": {"priority": "low"},
    **{key: {"limits": limits} for key, limits in LIMITS.items()},
    **{key: {"budget": budget} for key, budget in BUDGETS.items()},
}


def secret(key_id: str) -> str:
    return f"sk-{key_id}-0123456789abcdef"


KEYS = [{"id": key_id, "secret": secret(key_id), **policy} for key_id, policy in POLICIES.items()]
ALIASES = {ALIAS: SERVED, UNPRICED_ALIAS: UNPRICED}
METRICS = {"path": METRICS_PATH, "token": None}
SERVER = {"max_body_bytes": MAX_BODY, "max_in_flight": MAX_IN_FLIGHT}


def ledger(folder: Path) -> dict[str, Any]:
    """Each record is written at once: a thousand tests wait for one."""
    return {"url": f"sqlite:///{folder}/usage.db", "commit_seconds": 0}


def models(base_url: str) -> list[dict[str, Any]]:
    """`model_list` of a home that calls the provider itself."""
    params = {"api_base": base_url, "api_key": UPSTREAM_KEY, "max_retries": 0}
    entries = [
        {"model_name": n, "litellm_params": {"model": f"openai/{n}", **params}} for n in (SERVED, HIDDEN, UNPRICED)
    ]
    return [entry if entry["model_name"] == UNPRICED else {**entry, "model_info": PRICES} for entry in entries]


def words(folder: Path) -> dict[str, Any]:
    """All but the models."""
    return {
        "keys": KEYS,
        "aliases": ALIASES,
        "limits": SCOPES,
        "budgets": SESSION_BUDGET,
        "ledger": ledger(folder),
        "metrics": METRICS,
        "server": SERVER,
        "plugins": entries(folder),
    }
