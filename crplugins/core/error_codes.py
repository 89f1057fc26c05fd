"""The codes that a client reads in an error, and what records, metrics and logs call the same failure.

One list: what a client tells support in one word can be found by the other.
"""

from typing import Final, NamedTuple

from crplugins.core.outcome import ErrorType


class ErrorCode(NamedTuple):
    """`status` is the client's; `error_type` that of records, metrics and logs."""

    code: str
    status: str
    error_type: ErrorType
    meaning: str


ERROR_CODES: Final = (
    ErrorCode("invalid_api_key", "401", "unauthenticated", "no key, or none that is known and valid"),
    ErrorCode("model_not_found", "404, 403", "unknown_model", "the model is not served, or not to this key"),
    ErrorCode("rate_limit_exceeded", "429", "rate_limited", "a limit of requests; of tokens: `token_limited`"),
    ErrorCode("session_limit_exceeded", "403", "rate_limited", "a limit of the session; no waiting helps"),
    ErrorCode("insufficient_quota", "429", "budget_exceeded", "a budget of the key, its team or the gateway is spent"),
    ErrorCode("user_budget_exceeded", "429", "budget_exceeded", "the budget of the end user is spent"),
    ErrorCode("session_budget_exceeded", "403", "budget_exceeded", "the budget of the session is spent"),
    ErrorCode("endpoint_for_operators, endpoint_not_metered", "403", "forbidden_model", "a route not open to this key"),
    ErrorCode("unknown_price", "400", "invalid_request", "a budget would have to count a model without a price"),
    ErrorCode("duplicate_key", "400", "invalid_request", "a JSON key stands twice in one object"),
    ErrorCode("unknown_parameter", "400", "invalid_request", "no parameter, or a known one in disguise"),
    ErrorCode("unsupported_parameter", "400", "invalid_request", "the model does not take this parameter"),
    ErrorCode("missing_required_parameter", "400", "invalid_request", "a parameter is missing"),
    ErrorCode("invalid_type", "400", "invalid_request", "a value of another JSON type"),
    ErrorCode("invalid_value", "400", "invalid_request", "a value that is none of those that are taken"),
    ErrorCode("unsupported_value", "400", "invalid_request", "a value that this model or its provider does not take"),
    ErrorCode("invalid_image_url", "400", "invalid_request", "a picture that cannot be downloaded"),
    ErrorCode("*_below_min_value, *_above_max_value", "400", "invalid_request", "a number out of its bounds"),
    ErrorCode("empty_*, *_above_max_length", "400", "invalid_request", "a text or an array of another length"),
    ErrorCode("object_above_max_properties", "400", "invalid_request", "an object with too many names"),
    ErrorCode("property_name_above_max_length", "400", "invalid_request", "a name in an object that is too long"),
    ErrorCode("too_many_parameters, too_many_values", "400", "invalid_request", "a body of more than is read"),
    ErrorCode("max_tokens_per_request", "400", "invalid_request", "more token numbers to embed than OpenAI takes"),
    ErrorCode(
        "model_not_supported_in_endpoint", "404", "unknown_model", "no deployment of the model speaks this protocol"
    ),
    ErrorCode(
        "previous_response_not_found", "400", "invalid_request", "a response to go on from that is none of this key's"
    ),
    ErrorCode("thread_unsupported_request", "400", "invalid_request", "a conversation that Anthropic would keep"),
    ErrorCode("response_in_progress", "400", "invalid_request", "a response that is to be deleted and still runs"),
    ErrorCode("request_too_large", "413", "invalid_request", "a body of more bytes than `server.max_body_bytes`"),
    ErrorCode("headers_too_large", "431", "invalid_request", "a head of more bytes than `crplugins serve` reads"),
    ErrorCode("request_timeout", "408", "invalid_request", "a request that did not arrive in time"),
    ErrorCode("server_full", "503", "overloaded", "`server.max_in_flight` leaves no room for a key of this priority"),
    ErrorCode("server_shutdown", "503", "overloaded", "the process ends before the answer does"),
    ErrorCode("key_exists, key_not_found", "409, 404", "invalid_request", "the admin API: a key of this id, or none"),
    ErrorCode("key_changed", "412", "invalid_request", "the admin API: a key that has changed since `If-Match`"),
    ErrorCode("key_fixed", "409", "invalid_request", "the admin API: the key stands in the configuration itself"),
    ErrorCode("unsupported_content_type", "415", "invalid_request", "a body that is not plain JSON in UTF-8"),
    ErrorCode("context_length_exceeded", "400", "upstream_4xx", "the provider: the prompt is too long for the model"),
    ErrorCode("content_policy_violation", "400", "upstream_4xx", "the provider: its policy forbids the content"),
    ErrorCode("upstream_auth", "502", "upstream_auth", "the provider refuses the gateway's key"),
    ErrorCode("upstream_quota", "502", "upstream_quota", "the gateway's account at the provider is out of credit"),
    ErrorCode("provider_quota_exceeded", "429", "upstream_429", "the gateway's own limits at the provider are reached"),
    ErrorCode("upstream_no_usage", "502", "upstream_stream_broken", "no usage came, and `missing_usage` refuses that"),
    ErrorCode("upstream_error", "5xx", "upstream_5xx", "the provider failed"),
    ErrorCode("model_loading", "503", "upstream_connect", "litellm is being imported for the model, for long already"),
    ErrorCode("model_not_installed", "503", "upstream_connect", "the model needs litellm, which is not installed"),
    ErrorCode("upstream_unreachable", "502", "upstream_connect", "the provider cannot be reached"),
    ErrorCode("upstream_timeout", "504", "upstream_timeout", "the provider does not answer in time"),
    ErrorCode("upstream_malformed", "502", "upstream_stream_broken", "the provider's answer is no completion"),
    ErrorCode("upstream_incomplete", "502", "upstream_stream_broken", "the answer broke off; mostly after a 200"),
)
"""A provider's own code on a 4xx is passed on as it is: `upstream_4xx`, or `upstream_429`."""


def error_table() -> str:
    """The list in Markdown."""
    lines = ["| `code` | status | `error_type` | when |", "|---|---|---|---|"]
    for each in ERROR_CODES:
        codes = ", ".join(f"`{code}`" for code in each.code.split(", "))
        lines.append(f"| {codes} | {each.status} | `{each.error_type}` | {each.meaning} |")
    return "\n".join(lines)
