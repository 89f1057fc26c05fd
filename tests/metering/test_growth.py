"""A stream that grows is reserved for in the name of its request, wherever its pieces come in."""

from contextvars import Context

from crplugins.asgi.scope import make_exchange
from crplugins.core.log_lines import REQUEST_ID
from crplugins.metering.growth import PIECE_TOKENS, when_it_grows
from crplugins.testing.asgi import http_scope

WORD = " word"


def test_what_is_logged_of_more_that_is_reserved_has_the_id_of_the_request() -> None:
    exchange = make_exchange(http_scope("POST", "/v1/chat/completions"), lambda: 0.0, lambda: "r")
    exchange.stream = True
    reserved: list[tuple[int, str | None]] = []

    def reserve(tokens: int) -> None:
        reserved.append((tokens, REQUEST_ID.get()))

    token = REQUEST_ID.set("r")
    when_it_grows(exchange, 10, reserve)
    REQUEST_ID.reset(token)
    for _ in range(10 + PIECE_TOKENS):
        Context().run(exchange.note_text, WORD)
    assert [owner for _, owner in reserved] == ["r", "r"]
    assert [tokens for tokens, _ in reserved] == [10 + PIECE_TOKENS, 10 + 2 * PIECE_TOKENS]
