"""Work over text from outside is bounded: what a provider sends before litellm reads it, and what a file repeats."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from crplugins.core.redaction import LONGEST_TEXT
from crplugins.core.sse import MAX_EVENT_BYTES
from crplugins.handlers.litellm.bounded import bounded_lines, refusal_in
from crplugins.settings.document import read_document
from crplugins.settings.errors import ConfigError

LONG = "word " * 400_000


class Received:
    """A response of httpx: `body` in pieces, `closed` once it is given up."""

    def __init__(self, body: bytes) -> None:
        self.headers: dict[str, str] = {}
        self._body = body
        self.read, self.closed = 0, False
        self.stream = self

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._body), 16_384):
            self.read += 16_384
            yield self._body[start : start + 16_384]

    async def aclose(self) -> None:
        self.closed = True


REFUSALS: dict[str, tuple[Any, str]] = {
    "a long message": ({"error": {"message": LONG}}, ""),
    "a message of 60,000 characters": ({"error": {"message": LONG[:60_000]}}, "word word"),
    "a request that is repeated": (
        {"detail": [{"loc": ["body", "x"], "msg": "bad", "input": LONG[:60_000]}]},
        "x: bad",
    ),
    "a long type": ({"error": {"message": "no", "type": LONG[:50_000]}}, "no"),
    "a long code": ({"error": {"message": "no", "code": LONG[:50_000]}}, "no"),
    "a long list": ({"error": {"message": "no", "more": list(range(10_000))}}, "no"),
    "a deep one": (None, ""),
    "a page": (f"<html>{LONG}", ""),
}


@pytest.mark.parametrize("name", REFUSALS)
async def test_a_refusal_is_short_when_litellm_reads_it(name: str) -> None:
    document, message = REFUSALS[name]
    received = Received(b'{"error":' * 30_000 if document is None else json.dumps(document).encode())
    body = await refusal_in(received)
    assert len(body) <= 4096
    assert received.read <= 100_000
    assert received.closed
    told = json.loads(body)["error"]["message"]
    assert told.startswith(message)
    assert len(told) <= LONGEST_TEXT + 3


async def test_a_short_refusal_is_left_as_it_is() -> None:
    body = json.dumps({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}).encode()
    assert await refusal_in(Received(body)) == body


async def test_a_line_without_end_ends_a_stream() -> None:
    received = Received(b"data: " + b"x" * (MAX_EVENT_BYTES + 100_000))
    size = 0
    async for piece in bounded_lines(aiter(received)):
        size += len(piece)
    assert size <= MAX_EVENT_BYTES


async def test_lines_of_any_number_are_a_stream() -> None:
    body = b"data: x\n\n" * 3_000_000
    size = 0
    async for piece in bounded_lines(aiter(Received(body))):
        size += len(piece)
    assert size == len(body)


def lists(levels: int) -> str:
    made = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels))
    return f"a0: &a0 [x]\n{made}"


def mappings(levels: int) -> str:
    made = "\n".join(f"a{n}: &a{n} {{{', '.join(f'k{m}: *a{n - 1}' for m in range(10))}}}" for n in range(1, levels))
    return f"a0: &a0 {{x: 1}}\n{made}"


BOMBS = {
    "lists of lists": lists(12),
    "mappings of mappings": mappings(12),
    "one long list, often": f"a: &a [{'x, ' * 20_000}x]\nb: [{'*a, ' * 20_000}*a]",
    "one long mapping, often merged": "a: &a\n"
    + "".join(f"  k{n}: 1\n" for n in range(20_000))
    + "".join(f"b{n}: {{<<: *a}}\n" for n in range(100)),
    "brackets": "a: " + "[" * 5_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_file_that_repeats_itself_is_refused(name: str) -> None:
    with pytest.raises(ConfigError):
        read_document(BOMBS[name], "keys.yaml")


def test_what_many_keys_share_is_no_bomb() -> None:
    keys = "".join(f"- {{id: k{n}, <<: *policy, limits: *limits}}\n" for n in range(5_000))
    text = f"x: &policy {{models: [a, b], team: t}}\ny: &limits {{requests_per_minute: 1}}\nkeys:\n{keys}"
    assert len(read_document(text, "keys.yaml").data["keys"]) == 5_000
