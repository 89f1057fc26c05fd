import json

import pytest

from crplugins.core.errors import GatewayError, body_too_large, internal_error, model_not_found, unparsable_body

ALL = [unparsable_body(), body_too_large(10, 11), model_not_found("x"), internal_error()]


def test_an_error_has_openais_shape_with_all_four_keys() -> None:
    error = GatewayError(400, "No.", type="t", param="messages[0]", code="c")
    assert json.loads(error.body()) == {"error": {"message": "No.", "type": "t", "param": "messages[0]", "code": "c"}}


def test_keys_without_a_value_are_null_and_present() -> None:
    assert json.loads(GatewayError(400, "No.").body())["error"] == {
        "message": "No.",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }


def test_the_frame_is_one_event_with_the_same_document() -> None:
    error = GatewayError(500, "a\nb \u2028 c")
    assert error.frame() == b"data: " + error.body() + b"\n\n"
    assert error.frame().count(b"\n") == 2


def test_response_headers_name_type_and_length_and_keep_extra_ones_in_lower_case() -> None:
    error = GatewayError(429, "é", headers=[("Retry-After", "1")])
    length = str(len(error.body())).encode()
    assert error.response_headers() == [
        (b"content-type", b"application/json"),
        (b"content-length", length),
        (b"retry-after", b"1"),
    ]


def test_the_message_is_the_exceptions_text() -> None:
    assert str(GatewayError(400, "No.")) == "No."


def test_raising_one_error_twice_does_not_mix_headers() -> None:
    headers = [("a", "1")]
    error = GatewayError(400, "No.", headers=headers)
    error.response_headers().append((b"x", b"y"))
    assert (b"x", b"y") not in error.response_headers()


@pytest.mark.parametrize(("error", "status"), list(zip(ALL, [400, 413, 404, 500], strict=True)))
def test_our_own_errors_have_openais_status(error: GatewayError, status: int) -> None:
    assert error.status == status


def test_our_own_fault_says_nothing_about_itself() -> None:
    assert internal_error().error.type == "server_error"
    assert internal_error().error.code is None


def test_a_body_too_large_names_the_limit() -> None:
    error = body_too_large(10, 11)
    assert error.error.message == "Maximum content size limit (10) exceeded (11 bytes read)"
