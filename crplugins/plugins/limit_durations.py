"""Durations as OpenAI writes them in headers and messages: Go's form, which clients parse."""


def spell_duration(milliseconds: int) -> str:
    """`0s`, `120ms`, `3.89s`, `6m0s`. Hours are written as minutes: no recording shows another form."""
    if milliseconds >= 60_000:
        minutes, rest = divmod(milliseconds, 60_000)
        return f"{minutes}m{_seconds(rest)}"
    if 0 < milliseconds < 1_000:
        return f"{milliseconds}ms"
    return _seconds(milliseconds)


def _seconds(milliseconds: int) -> str:
    seconds, rest = divmod(milliseconds, 1_000)
    return f"{seconds}.{rest:03d}".rstrip("0") + "s" if rest else f"{seconds}s"
