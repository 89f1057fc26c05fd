"""Which words of `litellm_params` stay here."""

import pytest

from crplugins.config.litellm_params import LitellmParams
from crplugins.core.parameters import CHAT_PARAMETERS
from crplugins.handlers.litellm_settings import headers_in, is_setting

OF_SERVERS = (
    "top_k", "min_p", "repetition_penalty", "chat_template_kwargs", "guided_json", "stop_token_ids", "min_tokens",
    "include_reasoning", "thinking", "enable_thinking", "transforms", "provider", "plugins", "safety_settings",
    "cache_prompt", "id_slot", "skip_special_tokens", "priority", "documents", "search_parameters", "keep_alive",
)  # fmt: skip
"""Parameters that vLLM, llama.cpp, OpenRouter, Cohere, xAI and others add to OpenAI's."""


def test_every_name_on_litellms_own_list_is_a_setting_or_a_price_or_openais() -> None:
    types = pytest.importorskip("litellm.types.utils")
    given = {name: "x" for name in types.all_litellm_params if name not in LitellmParams.model_fields}
    params = LitellmParams.model_validate(
        {"model": "openai/m", **given, "base_url": None} | dict.fromkeys(HEADER_WORDS)
    )
    sent = {name for name in params.parameters() if not is_setting(name)}
    assert sent <= CHAT_PARAMETERS


HEADER_WORDS = ("headers", "default_headers", "extra_headers")


@pytest.mark.parametrize("name", [*sorted(CHAT_PARAMETERS), *OF_SERVERS])
def test_a_parameter_of_a_request_is_none(name: str) -> None:
    assert not is_setting(name)


@pytest.mark.parametrize(
    "name", ["langfuse_secret_key", "newest_logger_api_key", "clientSecret", "API_BASE", "vault_password", "_internal"]
)
def test_what_holds_a_secret_is_a_setting_in_any_spelling_and_release(name: str) -> None:
    assert is_setting(name)


def test_of_a_header_in_several_words_the_last_one_counts() -> None:
    parameters = {"extra_headers": {"x-a": 1}, "headers": {"x-a": 2, "x-b": 2}, "default_headers": {"x-b": 3, "x-c": 3}}
    assert headers_in(parameters) == {"x-a": "1", "x-b": "2", "x-c": "3"}
    assert headers_in({"headers": "x-a: 1", "temperature": 1}) == {}
