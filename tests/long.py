"""How hard the tests look: for seconds each day; with LONG_TESTS=1 in the environment, for as long as it takes."""

import os
from typing import Final

LONG: Final = os.environ.get("LONG_TESTS", "") not in ("", "0")


def times(daily: int, long: int) -> int:
    """How often a test repeats what it does."""
    return long if LONG else daily
