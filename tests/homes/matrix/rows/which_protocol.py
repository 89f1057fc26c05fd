"""Rows of the matrix: the other protocols in which a model is asked."""

from collections.abc import Mapping
from typing import Any

from crplugins.core.dialects import (
    COMPLETIONS,
    EMBEDDINGS,
    IMAGE_EDITS,
    IMAGE_VARIATIONS,
    IMAGES,
    MESSAGES,
    MODERATIONS,
    RERANK,
    RESPONSES,
    SPEECH,
    TRANSCRIPTIONS,
    TRANSLATIONS,
    Dialect,
)
from tests.homes.matrix.cells import behaviour
from tests.homes.matrix.home import Home

OTHERS = (COMPLETIONS, RESPONSES, MESSAGES, EMBEDDINGS)

PASSED: dict[Dialect, dict[str, Any]] = {
    RERANK: {"query": "Which is longer?", "documents": ["a", "much longer"]},
    MODERATIONS: {"input": "Say hello to the gateway, please."},
    IMAGES: {"prompt": "A cat before a gateway.", "n": 1},
    IMAGE_EDITS: {"prompt": "The same cat with a hat.", "n": 2},
    IMAGE_VARIATIONS: {"n": 2},
    TRANSCRIPTIONS: {"prompt": "hello"},
    TRANSLATIONS: {"prompt": "hello"},
    SPEECH: {"input": "Say hello to the gateway, please.", "voice": "alloy"},
}
"""What a request asks, by its protocol."""


@behaviour("other protocols")
def a_request_in_any_protocol_is_one_record_with_the_providers_numbers(home: Home) -> None:
    asked = [(dialect, stream) for dialect in OTHERS for stream in (False, True) if dialect.generates or not stream]
    used = []
    for dialect, stream in asked:
        answer = home.ask(dialect, "polyglot", **({"max_tokens": 50} if dialect is MESSAGES else {}), stream=stream)
        assert answer.status_code == 200, (dialect, stream, answer.text)
        home.wait_for_provider()  # which knows what it has sent once it has sent all of it
        used.append(home.provider.last_request.usage)
    rows = home.records("polyglot", len(asked))
    assert [(row["endpoint"], bool(row["stream"])) for row in rows] == [(d.name, stream) for d, stream in asked]
    assert {row["outcome"] for row in rows} == {"ok"}
    assert [(row["input_tokens"], row["output_tokens"]) for row in rows] == used


@behaviour("keys in other protocols")
def without_a_good_key_no_protocol_reaches_the_provider(home: Home) -> None:
    before = home.provider.received
    for dialect in OTHERS:
        answer = home.ask(dialect, None)
        assert answer.status_code == 401, (dialect, answer.text)
        assert "sk-" not in answer.text
    assert home.provider.received == before


def _row(dialect: Dialect, asked: Mapping[str, Any]) -> None:
    def check(home: Home) -> None:
        before = home.provider.received
        unknown = home.send(dialect, None, **asked)
        assert unknown.status_code == 401, unknown.text
        assert home.provider.received == before
        answer = home.send(dialect, dialect.name, **asked)
        assert answer.status_code == 200, answer.text
        home.wait_for_provider()
        told = home.provider.last_request.usage
        [row] = home.records(dialect.name, 1)
        assert (row["endpoint"], row["outcome"]) == (dialect.name, "ok")
        assert row["usage_source"] == ("estimated" if told is None else "provider")
        assert told is None or (row["input_tokens"], row["output_tokens"]) == told

    def refused(home: Home) -> None:
        before = home.provider.received
        assert home.send(dialect, dialect.name, **asked).status_code in (403, 404)
        assert home.provider.received == before

    def not_spoken(home: Home) -> None:
        answer = home.send(dialect, dialect.name, **asked)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_supported_in_endpoint")

    check.__name__ = f"{dialect.name}_needs_a_key_and_is_one_record_with_the_providers_numbers"
    elsewhere = {"litellm-entry": refused, "litellm-callback": refused, "gateway-litellm": not_spoken}
    behaviour(dialect.name, elsewhere)(check)


for _dialect, _asked in PASSED.items():
    _row(_dialect, _asked)
