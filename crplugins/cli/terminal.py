"""How commands print: the console of all tables, and names that clients choose."""

from rich.console import Console


def plain_console() -> Console:
    """A console that prints text unchanged: no markup, no emoji, no highlighting."""
    return Console(markup=False, emoji=False, highlight=False)


def printable(text: str) -> str:
    """`text` with its control characters escaped: clients choose names, and must not control the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
