"""The table of clients on the page for people, made of what is known and tested."""

from collections.abc import Iterator
from pathlib import Path

from tests.clients.compare import ASPECTS, routes
from tests.clients.gaps import gaps_of
from tests.clients.installed import CLIENTS

PAGE = Path(__file__).parents[2] / "crplugins" / "handlers" / "CLIENTS.md"
BEGIN = "<!-- From here on written by `python -m tests.clients --write`. -->"


def with_table(page: str) -> str:
    head, begin, _ = page.partition(BEGIN)
    assert begin, "the page has no place for the table"
    return "\n".join([head + begin, "", *_lines(), ""])


def _lines() -> Iterator[str]:
    reasons: dict[str, int] = {}
    yield "| family | handler | " + " | ".join(f"{client.name} {client.version}" for client in CLIENTS) + " |"
    yield "|---|---|" + "---|" * len(CLIENTS)
    for family, handler in routes():
        cells = [_cell(dict(gaps_of(client, family, handler)), reasons) for client in CLIENTS]
        yield f"| {family} | `{handler}` | " + " | ".join(cells) + " |"
    yield ""
    for reason, number in reasons.items():
        yield f"{number}. {reason}"


def _cell(gaps: dict[str, str], reasons: dict[str, int]) -> str:
    if not gaps:
        return "all"
    missing = [aspect for aspect in ASPECTS if aspect in gaps]
    numbers = sorted({reasons.setdefault(gaps[aspect], len(reasons) + 1) for aspect in missing})
    return f"no {', '.join(missing)} ({', '.join(map(str, numbers))})"
