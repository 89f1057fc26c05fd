"""Rows of the matrix: the other protocols in which a model is asked."""

from crplugins.core.dialects import COMPLETIONS, EMBEDDINGS, MESSAGES, RESPONSES
from tests.homes.matrix.cells import behaviour
from tests.homes.matrix.home import Home

OTHERS = (COMPLETIONS, RESPONSES, MESSAGES, EMBEDDINGS)


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
