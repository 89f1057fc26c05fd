"""What is known of litellm's providers without importing litellm: their names.

`providers.json` has those that every release of litellm knows with which it was made; a test holds it against the one
that is installed.
"""

from importlib.resources import files
from typing import Final

import msgspec


class Table(msgspec.Struct, frozen=True):
    """The file. `litellm`: the releases that it was made with."""

    litellm: tuple[str, ...]
    providers: frozenset[str]


def _read() -> Table:
    return msgspec.json.decode(files(__package__).joinpath("providers.json").read_bytes(), type=Table)


PROVIDERS: Final = _read().providers
"""The names that stand before the slash of a model in LiteLLM's notation."""
