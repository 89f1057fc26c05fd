"""What is known of litellm's providers without importing litellm.

`providers.json` has what every release of litellm confirms with which it was made (`survey` makes it); a test holds it
against the one that is installed.
"""

from pathlib import Path
from typing import Final

import msgspec

FILE: Final = Path(__file__).with_name("providers.json")


class Table(msgspec.Struct, frozen=True):
    """The file. `litellm`: the releases that it was made with."""

    litellm: tuple[str, ...]
    providers: frozenset[str]
    configured: frozenset[str]


def read_table() -> Table:
    return msgspec.json.decode(FILE.read_bytes(), type=Table)


_TABLE: Final = read_table()

PROVIDERS: Final = _TABLE.providers
"""The names that stand before the slash of a model in LiteLLM's notation."""

CONFIGURED: Final = _TABLE.configured
"""Those that may be asked through litellm's configuration of them, without `acompletion`: what is tried for each model,
see `rehearsal`, is tried for no others. They sign nothing and send nothing else."""
