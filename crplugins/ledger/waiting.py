"""How many records are on their way into the database while nobody runs who would bring them there."""

import sqlite3
from pathlib import Path

from crplugins.ledger.dead_journals import count_dead_lines
from crplugins.ledger.spool_file import SpoolFile


def count_waiting(spool: Path) -> int:
    """Those in the spool and in journals of dead processes, some of which may be there already. Blocks.

    0 if the files cannot be read.
    """
    file = SpoolFile(spool)
    try:
        return file.count() + count_dead_lines(spool)
    except (OSError, sqlite3.Error):
        return 0
    finally:
        file.close()
