"""What of a client's query string reaches an upstream that is asked in its own wire.

By a list of names, as that of the headers is: a query can hold another version of an API, or a key, and must never
change whom the gateway asks for what. A pair passes as it was written, or not at all.
"""

import re
from collections.abc import Iterable
from typing import Final

from crplugins.core.dialects import Dialect

_VALUE: Final = re.compile(rb"[A-Za-z0-9._~,:%+-]{0,256}")
_MOST_PAIRS: Final = 32

_STORED: Final = frozenset({
    b"after", b"before", b"include", b"include[]", b"include%5B%5D", b"include%5b%5d", b"include_obfuscation",
    b"limit", b"order", b"starting_after", b"stream",
})  # fmt: skip
"""Names in requests about a response that is kept, in OpenAI's documentation."""


def asking_query(query: bytes, dialect: Dialect) -> str:
    """Of a request that asks a model: the pairs that the dialect knows, after a `?`. So there are few of them."""
    given = query.split(b"&", _MOST_PAIRS)[:_MOST_PAIRS]
    return _written(pair for pair in dialect.queries if pair in given)


def stored_query(query: bytes) -> str:
    """Of a request about an answer that is kept."""
    return _written(pair for pair in query.split(b"&", _MOST_PAIRS)[:_MOST_PAIRS] if _is_known(pair))


def _is_known(pair: bytes) -> bool:
    name, _, value = pair.partition(b"=")
    return name in _STORED and _VALUE.fullmatch(value) is not None


def _written(pairs: Iterable[bytes]) -> str:
    joined = b"&".join(pairs).decode("ascii")
    return f"?{joined}" if joined else ""
