"""What a configuration says about streams that break: of a deployment, of an entry, and of all models."""

from typing import Any

import pytest

from crplugins.config import parse_config
from crplugins.handlers.routing.on_break import HOLD_SECONDS, HOLD_TOKENS, OnBreak
from crplugins.settings.errors import ConfigError


def on_break(entry: Any = (), params: Any = (), **words: Any) -> OnBreak:
    params = {"model": "openai/m", "api_key": "k", **dict(params)}
    config = parse_config({"model_list": [{"model_name": "m", "litellm_params": params, **dict(entry)}], **words})
    return config.deployments()[0].on_break


def test_by_default_a_stream_that_breaks_ends_with_an_error() -> None:
    assert on_break() == OnBreak("error", HOLD_TOKENS, HOLD_SECONDS)


def test_an_entry_comes_before_its_params_and_these_before_what_holds_for_all() -> None:
    everything = {"on_break": "restart", "hold_tokens": 5, "hold_seconds": 0.5}
    assert on_break(**everything) == OnBreak("restart", 5, 0.5)
    assert on_break(params={"on_break": "continue"}, **everything) == OnBreak("continue", 5, 0.5)
    assert on_break(entry={"on_break": "error"}, params={"hold_tokens": 9}, **everything) == OnBreak("error", 9, 0.5)


def test_the_words_are_not_sent_to_the_provider() -> None:
    params = {"model": "openai/m", "api_key": "k", "on_break": "restart", "hold_tokens": 5, "hold_seconds": 1}
    config = parse_config({"model_list": [{"model_name": "m", "litellm_params": params}]})
    assert dict(config.deployments()[0].parameters) == {}


def test_litellms_word_for_prefill_is_read() -> None:
    entry = {"model_name": "m", "litellm_params": {"model": "openai/m", "api_key": "k"}}
    for info, expected in (({}, None), ({"supports_assistant_prefill": True}, True)):
        (deployment,) = parse_config({"model_list": [{**entry, "model_info": info}]}).deployments()
        assert deployment.takes_prefill is expected


@pytest.mark.parametrize("wrong", [{"on_break": "retry"}, {"hold_tokens": 0}, {"hold_seconds": -1}], ids=str)
def test_what_is_no_such_word_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        on_break(params=wrong)
