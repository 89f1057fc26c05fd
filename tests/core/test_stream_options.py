import pytest

from crplugins.core.body import Body
from crplugins.core.stream_options import StreamOptionsRefused, asks_for_usage_only, names_stream_options


@pytest.mark.parametrize("status", [400, 422])
def test_a_refusal_is_known_by_its_status_and_its_words(status: int) -> None:
    for text in (
        "'stream_options.include_usage'",
        "body.stream_options: extra",
        "stream_options",
        '["stream_options"]',
    ):
        assert names_stream_options(status, text)
    for name in ("xstream_options", "stream_options2", "stream_options_", "x-stream_options", "stream_options-x"):
        assert not names_stream_options(status, f"Unknown parameter: '{name}'")
    assert not names_stream_options(status, "Unknown parameter: 'n'")
    assert not names_stream_options(500, "stream_options")


def test_only_what_everybody_is_asked_for_says_something_about_the_upstream() -> None:
    assert asks_for_usage_only(Body(b'{"stream_options": {"include_usage" : true}}'))
    for options in (b'{"include_usage": true, "x": 1}', b'{"include_usage": false}', b"{}", b"null", b"7"):
        assert not asks_for_usage_only(Body(b'{"stream_options": ' + options + b"}"))


def test_a_refusal_is_known_until_its_time_is_over() -> None:
    refused = StreamOptionsRefused(60)
    assert not refused.known("m", ["model"], 0)
    refused.remember("m", ["model", "stream_options"], 0)
    assert refused.known("m", ["model"], 59)
    assert refused.known("m", ["stream_options", "model"], 59)
    assert not refused.known("n", ["model"], 59)
    assert not refused.known("m", ["model"], 60)


def test_a_refusal_beside_one_parameter_says_nothing_of_requests_without_it() -> None:
    refused = StreamOptionsRefused()
    refused.remember("m", ["model", "messages", "data_sources"], 0)
    assert not refused.known("m", ["model", "messages"], 1)


def test_names_from_clients_do_not_fill_the_memory() -> None:
    refused = StreamOptionsRefused()
    for number in range(3000):
        refused.remember(str(number), (), 0)
    assert len(refused._until) == 1000
    assert refused.known("2999", (), 1)
    assert not refused.known("0", (), 1)
