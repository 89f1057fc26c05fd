"""Fact: what a sentence for people says, for whoever says it in another language."""

from collections.abc import Mapping

import msgspec


class Fact(msgspec.Struct, frozen=True):
    """`name` is that of a sentence in the texts of the page (`fact_NAME`), `values` are the words in it.

    A value called `seconds` or `usd` is a number of them; a name called `scope`, `occasion` or `strategy` is one of a
    closed set, for which there is a text too.
    """

    name: str
    values: Mapping[str, str | int | float]


def fact(name: str, **values: str | int | float) -> Fact:
    return Fact(name, values)


def facts_of(*given: Fact | None) -> tuple[Fact, ...]:
    """Those that are no None, in their order."""
    return tuple([each for each in given if each is not None])
