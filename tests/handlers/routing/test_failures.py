"""What a failure means, in the words of many providers."""

import pytest

from crplugins.core.errors import GatewayError
from crplugins.handlers.routing.failures import is_too_long, refuses_content, remedy_of, retry_after
from tests.handlers.routing.virtual import failed_with

TOO_LONG = [
    ("This model's maximum context length is 8192 tokens. However, your messages resulted in 9631 tokens.", "invalid_request_error", "context_length_exceeded"),  # OpenAI, Groq, DeepSeek
    ("prompt is too long: 205018 tokens > 200000 maximum", "invalid_request_error", None),  # Anthropic
    ("input length and `max_tokens` exceed context limit: 198000 + 8192 > 200000", "invalid_request_error", None),
    ("The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).", "", "400"),  # Gemini
    ("This model's maximum context length is 4096 tokens. However, you requested 5000 tokens", "BadRequestError", "400"),  # vLLM
    ("Input is too long for requested model.", "", None),  # Bedrock
    ("the request exceeds the available context size, try increasing it", "exceed_context_size_error", "400"),  # llama.cpp
    ("Prompt contains 33000 tokens, too large for model with 32768 maximum context length", "invalid_request_error", "3051"),  # Mistral
    ("Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096", "", "422"),  # TGI
    ("This model's maximum prompt length is 131072 but the request contains 200000 tokens.", "", None),  # xAI
    ("The prompt is too long: 9000, model maximum context length: 8191", "", None),  # Fireworks
    ("too many tokens: total number of tokens in the prompt cannot exceed 4081", "", None),  # Cohere
]  # fmt: skip
FILTERED = [
    ("Your request was rejected as a result of our safety system.", "invalid_request_error", "content_policy_violation"),
    ("The response was filtered due to the prompt triggering Azure OpenAI's content management policy.", "", "content_filter"),
    ("Output blocked by content filtering policy", "invalid_request_error", None),  # Anthropic
    ("Invalid prompt: your prompt was flagged as potentially violating our usage policy.", "invalid_request_error", "invalid_prompt"),
    ("Input data may contain inappropriate content.", "", "data_inspection_failed"),  # Qwen
    ("Content Exists Risk", "invalid_request_error", "invalid_request_error"),  # DeepSeek
]  # fmt: skip
NEITHER = [
    ("Invalid 'temperature': decimal above maximum value. Expected a value <= 2.", "invalid_request_error", "decimal_above_max_value"),
    ("Invalid 'messages[5].content': string too long. Expected a string with maximum length 10485760.", "invalid_request_error", "string_above_max_length"),
    ("max_tokens is too large: 99999. This model supports at most 16384 completion tokens.", "invalid_request_error", "invalid_value"),
    ("Unsupported parameter: 'prompt_too_long' is not supported with this model.", "invalid_request_error", "unsupported_parameter"),
    ("This model does not support assistant message prefill.", "invalid_request_error", "invalid_prefill"),
]  # fmt: skip


def refusal(message: str, kind: str, code: str | None, status: int = 400) -> GatewayError:
    return GatewayError(status, message, type=kind, code=code, error_type="upstream_4xx")


@pytest.mark.parametrize("words", TOO_LONG, ids=lambda words: words[0][:24])
def test_a_prompt_that_is_too_long_is_for_another_model(words) -> None:
    assert remedy_of(refusal(*words)) == "another_model"
    assert not refuses_content(refusal(*words))


@pytest.mark.parametrize("words", FILTERED, ids=lambda words: words[0][:24])
def test_content_that_a_policy_forbids_is_for_those_named_for_it_alone(words) -> None:
    assert remedy_of(refusal(*words)) == "content_policy"


@pytest.mark.parametrize("words", NEITHER, ids=lambda words: words[0][:24])
def test_any_other_mistake_of_the_request_is_for_nobody(words) -> None:
    assert remedy_of(refusal(*words)) == "none"
    assert not is_too_long(refusal(*words))


def test_a_body_that_one_provider_finds_too_large_another_may_take() -> None:
    assert remedy_of(failed_with(413, "upstream_4xx")) == "another_model"


@pytest.mark.parametrize("error_type", ["internal", "rate_limited", "overloaded"])
def test_a_failure_of_our_own_is_for_nobody(error_type) -> None:
    assert remedy_of(failed_with(500, error_type)) == "none"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry_after": "2"}, 2.0),
        ({"retry_after": "2.5"}, 2.5),
        ({"retry_after": "9", "retry_after_ms": "1500"}, 1.5),
        ({"retry_after": "Tue, 14 Nov 2023 22:13:30 GMT"}, 10.0),
        ({"retry_after": "Tue, 14 Nov 2023 22:13:10 GMT"}, 0.0),
        ({"retry_after": "Tue Nov 14 22:13:30 2023"}, 10.0),
        ({"retry_after": "nan"}, None),
        ({"retry_after": "1e999"}, None),
        ({"retry_after": "Tue, 45 Nov 2023 22:13:10 GMT"}, None),
        ({"retry_after": "Mon, 01 Jan 9999999999 00:00:00 GMT"}, None),
        ({"retry_after": "Mon, 01 Jan 2026 0:0:9999999999 GMT"}, None),
        ({"retry_after": "3", "retry_after_ms": "soon"}, 3.0),
    ],
)
def test_the_time_that_a_provider_names_may_be_a_number_or_a_date(headers, seconds) -> None:
    assert retry_after(failed_with(429, "upstream_429", **headers), lambda: 1_700_000_000.0) == seconds
