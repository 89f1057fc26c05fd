"""What waits for the database: the lines in the journals of all processes on this machine, and in the spool."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from crplugins.ledger.journal import read_journals
from crplugins.ledger.spool import SpoolFile

MOST: Final = 20_000
"""Lines of the spool that are read: after a long outage there may be millions, which are on their way."""


class Waiting(msgspec.Struct, frozen=True):
    """Lines, each record once, and how many more there are that have not been read."""

    lines: Sequence[bytes] = ()
    more: int = 0


class _Id(msgspec.Struct):
    request_id: str


_decode_id: Final = msgspec.json.Decoder(_Id).decode


def read_waiting(spool: Path) -> Waiting:
    """Blocks. Raises OSError and `sqlite3.Error`.

    Journals first: from there lines move to the spool, so that one on its way is seen at least once.
    """
    file = SpoolFile(spool)
    journaled = read_journals(spool)
    try:
        spooled = file.oldest(MOST)
        more = max(0, file.count() - MOST)
    finally:
        file.close()
    lines: dict[str, bytes] = {}
    for line in (*journaled, *(line for _, line in spooled)):
        try:
            lines.setdefault(_decode_id(line).request_id, line)
        except msgspec.DecodeError:  # half written over: it is in the database by now
            continue
    return Waiting(list(lines.values()), more)
