"""What several commands do with the options that they are given."""

from collections.abc import Callable
from typing import TypeVar

import typer

T = TypeVar("T")


def read_option(option: str, reading: Callable[[], T]) -> T:
    """What `reading` makes of the option. A ValueError of it ends the command with 2 and its message."""
    try:
        return reading()
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None
