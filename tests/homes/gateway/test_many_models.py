"""What each model more costs a gateway that starts: function calls, the same on every machine."""

import sys
from typing import Any

from crplugins.config import parse_config
from crplugins.homes.gateway.app import Gateway

PRICES = {"input_cost_per_token": 1.5e-7, "output_cost_per_token": 6e-7}


def calls_of(models: int) -> int:
    """Those of a gateway's construction, from a configuration that is read."""
    params = {"model": "openai/m", "api_base": "http://127.0.0.1:9/v1", "api_key": "sk-upstream"}
    entries = [{"model_name": f"m{number}", "litellm_params": params, "model_info": PRICES} for number in range(models)]
    config = parse_config({"model_list": entries, "keys": [{"id": "a", "secret": "sk-a-0123456789"}]})
    calls = 0

    def count(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        Gateway.from_config(config)
    finally:
        sys.setprofile(None)
    return calls


def test_a_model_is_made_once_and_reckons_nothing_before_it_is_asked() -> None:
    calls_of(10)  # imports what is loaded late
    few, many = calls_of(100), calls_of(300)
    assert (many - few) / 200 < 150
