"""What the environment gives is a value and nothing else: no key, no syntax, and in no error."""

from typing import Any

import pytest

from crplugins.config import parse_config
from crplugins.settings.errors import ConfigError

HIDDEN = "hunter22"

VALUES = [
    HIDDEN, f"{HIDDEN}\n", f"{HIDDEN}\nadmin: true", f"${{OTHER}}{HIDDEN}", f"os.environ/OTHER{HIDDEN}", f"*{HIDDEN}", f"!{HIDDEN}", f"&{HIDDEN}",
    f"{{{HIDDEN}: 1}}", f"[{HIDDEN}]", f"'{HIDDEN}", f'"{HIDDEN}"', f"# {HIDDEN}", f"{HIDDEN}: x", f"%{HIDDEN}", f"`{HIDDEN}`", f"$({HIDDEN})",
    f"../{HIDDEN}", f"{HIDDEN}\t", f" {HIDDEN} ", f"{HIDDEN}\x7f", f"{HIDDEN}\u2028", f"{HIDDEN}\u202e", "x" * 100_000 + HIDDEN,
]  # fmt: skip

# Where a value stands that does not fit.
PLACES = {
    "a port": {"server": {"port": "${SECRET}"}},
    "a size": {"server": {"max_body_bytes": "${SECRET}"}},
    "a database": {"ledger": {"url": "${SECRET}"}},
    "a store": {"limits": {"store": "${SECRET}"}},
    "an outage": {"limits": {"on_store_error": "${SECRET}"}},
    "a limit": {"limits": {"per_model": {"m": {"requests_per_minute": "${SECRET}"}}}},
    "a budget": {"keys": [{"id": "a", "secret": "sk-0123456789abcdef", "budget": {"usd": "${SECRET}"}}]},
    "an end": {"keys": [{"id": "a", "secret": "sk-0123456789abcdef", "expires": "${SECRET}"}]},
    "a source of keys": {"keys": {"sql": "${SECRET}"}},
    "an issuer": {"keys": {"jwt": {"issuer": "x", "jwks": "x", "claims": {"id": "${SECRET}"}, "algorithms": ["${SECRET}"]}}},
    "a handler": {"model_list": [{"model_name": "m", "litellm_params": {"model": "openai/m"}, "handler": "${SECRET}"}]},
}  # fmt: skip


def environ(value: str) -> dict[str, str]:
    return {"SECRET": value, "OTHER": "other"}


def error_of(words: Any, value: str) -> str:
    """What is said of a configuration, nothing of a good one."""
    try:
        parse_config(words, environ(value))
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("place", PLACES)
def test_no_error_shows_a_value_of_the_environment(place: str) -> None:
    for value in VALUES:
        error = error_of(PLACES[place], value)
        assert HIDDEN not in error
        assert len(error) < 2000


@pytest.mark.parametrize("value", VALUES)
def test_a_value_is_no_syntax(value: str) -> None:
    words = {"model_list": [{"model_name": "m", "litellm_params": {"model": "openai/m", "api_key": "${SECRET}"}}]}
    if error := error_of(words, value):
        assert HIDDEN not in error
        return
    config = parse_config(words, environ(value))
    assert config.deployments()[0].api_key in {value, value.rstrip("\n")}
    assert config.admin is None
