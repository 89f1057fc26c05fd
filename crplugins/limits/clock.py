"""The clock of stores that have none of their own."""

import time


def milliseconds() -> int:
    """Since 1970."""
    return time.time_ns() // 1_000_000
