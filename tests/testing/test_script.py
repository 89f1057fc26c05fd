from pathlib import Path

import pytest

from crplugins.testing import Script
from crplugins.testing.script import header_pairs, split_frames


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
def test_a_stream_is_cut_at_its_blank_lines_and_nothing_is_lost(end: bytes) -> None:
    data = b": hi" + end + b"event: x\ndata: {}" + end + b"data: [DONE]"
    frames = split_frames(data)
    assert b"".join(frames) == data
    assert [frame.removesuffix(end) for frame in frames] == [b": hi", b"event: x\ndata: {}", b"data: [DONE]"]
    assert split_frames(b"") == ()


def test_a_recording_is_replayed_from_bytes_or_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.sse").write_bytes(b"data: 1\n\ndata: 2\n\n")
    from_file = Script.replay(tmp_path / "a.sse", headers={"X-A": "b"}, frame_delay=0.1)
    assert from_file.events == (b"data: 1\n\n", b"data: 2\n\n")
    assert (from_file.frame_delay, from_file.headers) == (0.1, {"X-A": "b"})
    plain = Script.replay(b"{}", "application/json", 404)
    assert (plain.status, plain.body, plain.events) == (404, b"{}", None)
    with pytest.raises(FileNotFoundError):
        Script.replay(tmp_path / "missing.sse")


def test_errors_have_the_object_of_openai() -> None:
    script = Script.error(403, "no", code="forbidden", delay=1.0)
    assert (script.status, script.delay) == (403, 1.0)
    assert script.body == {
        "error": {"message": "no", "type": "invalid_request_error", "param": None, "code": "forbidden"}
    }
    limited = Script.rate_limited(3, {"X-RateLimit-Limit-Requests": "60"})
    assert limited.status == 429
    assert limited.headers == [("retry-after", "3"), ("x-ratelimit-limit-requests", "60")]
    assert Script.rate_limited(None).headers == []


def test_headers_are_given_as_a_mapping_or_as_pairs() -> None:
    assert header_pairs({"A": "1"}) == header_pairs([("a", "1")]) == [("a", "1")]
