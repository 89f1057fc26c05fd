import pytest

from crplugins.core.errors import GatewayError, internal_error, model_not_found
from crplugins.core.outcome import ERROR_TYPES, OUTCOMES, answered_with, refused_with


def test_every_error_type_has_one_outcome() -> None:
    assert set(OUTCOMES) == set(ERROR_TYPES)
    assert len(set(ERROR_TYPES)) == len(ERROR_TYPES) == 20


@pytest.mark.parametrize(
    ("status", "ours", "theirs"),
    [
        (400, "invalid_request", "upstream_4xx"), (401, "unauthenticated", "upstream_4xx"),
        (404, "invalid_request", "upstream_4xx"), (403, "forbidden_model", "upstream_4xx"),
        (429, "rate_limited", "upstream_429"), (500, "internal", "upstream_5xx"), (503, "overloaded", "upstream_5xx"),
    ],
)  # fmt: skip
def test_a_status_means_something_else_from_us_than_from_a_provider(status: int, ours: str, theirs: str) -> None:
    assert (refused_with(status), answered_with(status)) == (ours, theirs)


def test_success_is_no_error() -> None:
    assert (answered_with(200), OUTCOMES[""]) == ("", "ok")


def test_a_refusal_may_say_more_than_its_status() -> None:
    assert GatewayError(429, "m", error_type="budget_exceeded").error_type == "budget_exceeded"
    assert model_not_found("m").error_type == "unknown_model"
    assert internal_error("hook_error").error_type == "hook_error"
