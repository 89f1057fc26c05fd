"""Why answers end, in the words of every provider."""

import pytest
from msgspec import UNSET

from crplugins.core.finish_reasons import is_end, is_failure, openais_reason

FAILURES = (
    "error", "abort", "aborted", "network_error", "insufficient_system_resource", "MALFORMED_FUNCTION_CALL",
    "malformed_function_call", "UNEXPECTED_TOOL_CALL", "function_call_filter: MALFORMED_FUNCTION_CALL",
    "function_call_filter: UNEXPECTED_TOOL_CALL", "TIMEOUT", "upstream_error", "gateway_error",
    "server_error", "failed",
)  # fmt: skip


@pytest.mark.parametrize(
    "reason", ["stop", "length", "tool_calls", "content_filter", "STOP", "end_turn", "eos", "function_call"]
)
def test_any_word_ends_a_choice(reason: str) -> None:
    assert is_end(reason)
    assert not is_failure(reason)


@pytest.mark.parametrize("reason", ["", "null", "NULL", "None", "load", None, UNSET, *FAILURES])
def test_a_filler_or_a_failure_is_no_end(reason: object) -> None:
    assert not is_end(reason)
    assert is_failure(reason) == (reason in FAILURES)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("stop", "stop"), ("STOP", "stop"), ("eos", "stop"), ("end_turn", "stop"), ("MAX_TOKENS", "length"),
     ("model_context_window_exceeded", "length"), ("tool_use", "tool_calls"), ("sensitive", "content_filter"),
     ("SAFETY", "content_filter"), ("null", None), ("None", None), ("", None), (None, None), (UNSET, None), (7, None)],
)  # fmt: skip
def test_openais_word_stands_for_each(theirs: object, ours: str | None) -> None:
    assert openais_reason(theirs) == ours
