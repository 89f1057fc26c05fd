"""The page of the plugins says no less than what they cost, and no more than a tenth above it.

From Python 3.12 on a comprehension is no call, so that what is told may be two more.
"""

from pathlib import Path

import crplugins
from tests.bench.by_plugin import shares, table

PAGE = Path(crplugins.__file__).parent / "plugins" / "README.md"


def figures(lines):
    cells = [[cell.strip() for cell in line.strip("|\n ").split("|")] for line in lines]
    return {name: (int(request), int(chunk)) for name, request, chunk in cells[2:]}


async def test_the_table_of_what_plugins_cost_is_what_is_counted(tmp_path):
    counted = table(await shares(tmp_path))
    lines = PAGE.read_text().splitlines()
    start = lines.index(counted[0])
    told, true = figures(lines[start : start + len(counted)]), figures(counted)
    assert list(told) == list(true)
    for name, (request, chunk) in true.items():
        assert request <= told[name][0] <= 1.1 * request + 2, name
        assert chunk <= told[name][1] <= chunk + 2, name
