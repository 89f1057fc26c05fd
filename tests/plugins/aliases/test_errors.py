import json

import pytest

from crplugins.core.sse import Event
from crplugins.plugins.aliases.rename import NameScrubber, Renaming


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("The model `gpt-4` does not exist", "The model `fast` does not exist"),
        ("gpt-4", "fast"),
        ("no gpt-4.", "no fast."),
        ("gpt-4: overloaded, gpt-4, (gpt-4)", "fast: overloaded, fast, (fast)"),
        ("openai/gpt-4 is down", "openai/fast is down"),
        ("gpt-4-turbo, gpt-4.1, gpt-4o, ft:gpt-4:acme, my-gpt-4, gpt-4/x", None),
        ("vendor/deep-1 failed", "fast failed"),
        ("fast", None),
    ],
)
def test_only_whole_names_are_replaced(text, scrubbed):
    assert NameScrubber(["gpt-4", "vendor/deep-1"], "fast").text(text) == (scrubbed or text)


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("The request is too large for model large", "The request is too large for model fast"),
        ("Model large: large inputs, 'large'", "Model fast: large inputs, 'fast'"),
        ("enlarge `large`, model=large", "enlarge `fast`, model=fast"),
        ("large is overloaded", "fast is overloaded"),
        ("vendor/large", "vendor/fast"),
        ("at large", None),
    ],
)
def test_a_name_that_reads_like_a_word_counts_only_where_a_name_is_meant(text, scrubbed):
    assert NameScrubber(["large"], "fast").text(text) == (scrubbed or text)


def test_the_requested_name_stays_even_if_it_holds_the_hidden_one():
    assert NameScrubber(["gpt-4"], "team/gpt-4").text("team/gpt-4 or gpt-4") == "team/gpt-4 or team/gpt-4"


def test_the_longest_of_several_names_is_found_first():
    assert NameScrubber(["gpt-4", "openai/gpt-4"], "x").text("openai/gpt-4, gpt-4") == "x, x"


def test_strings_without_a_name_keep_their_bytes_and_escapes_hide_nothing():
    document = rb'{ "a" : "caf\u00e9 \/", "n": 1e400, "m":"no gpt\u002d4 \u00e9 \/" }'
    scrubbed = NameScrubber(["gpt-4"], 'na"me').scrub(document)
    assert scrubbed == '{ "a" : "caf\\u00e9 \\/", "n": 1e400, "m":"no na\\"me é /" }'.encode()


def test_what_is_not_json_is_scrubbed_as_far_as_its_strings_go():
    assert NameScrubber(["gpt-4"], "x").scrub(b'gpt-4 "gpt-4" "\xff gpt-4" "gpt-4') == b'gpt-4 "x" "\xff gpt-4" "gpt-4'


def test_without_names_nothing_is_looked_at():
    document = json.dumps({"m": "x"}).encode()
    assert NameScrubber(["x"], "x").scrub(document) is document


@pytest.mark.parametrize("name", ["requests", "model", "invalid_value", "error"])
def test_words_of_the_protocol_stay_though_a_model_is_called_like_them(name):
    error = {"message": f"the model `{name}` is busy", "type": name, "param": name, "code": name}
    for event in (
        Event.json_document(json.dumps({"error": error}).encode()),
        Event.of(json.dumps({"error": error}).encode()),
    ):
        renamed = Renaming("fast", [name]).errors(event, whole=event.document)
        assert json.loads(renamed.data)["error"] == error | {"message": "the model `fast` is busy"}


def test_an_error_of_an_app_too_long_to_be_read_is_replaced():
    event = Event.json_document(json.dumps({"detail": ["gpt-4"] * 50_000}).encode())
    assert (
        json.loads(Renaming("fast", ["gpt-4"]).errors(event, whole=True).data)["error"]["code"] == "upstream_malformed"
    )
