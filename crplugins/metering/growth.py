"""Streams that grow beyond what was reserved for them: they reserve more while they run.

Otherwise the rest of a long answer would be charged when it is over, and until then as many other requests be let in as
if it were short.
"""

from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import Final

from crplugins.core.exchange import Exchange

PIECE_TOKENS: Final = 256
"""How much more is reserved at a time, before it is said."""


def when_it_grows(exchange: Exchange, reserved: int, reserve: Callable[[int], None]) -> None:
    """Call `reserve(tokens)` each time a stream has said as much as is reserved: so many are to be, from then on.

    Counts what is shown. What a model thinks in silence is known when the provider reports its usage.

    Args:
        reserved: tokens of the answer.
    """
    if exchange.stream:
        # A stream that is pushed grows outside of its task, and what is logged of it has the request's id.
        exchange.said.call_at(reserved, partial(copy_context().run, _more, exchange, reserve))


def _more(exchange: Exchange, reserve: Callable[[int], None]) -> None:
    tokens = exchange.said.tokens() + PIECE_TOKENS
    exchange.said.call_at(tokens, partial(copy_context().run, _more, exchange, reserve))
    reserve(tokens)
