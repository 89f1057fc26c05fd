"""Script: a Lua program that Redis runs as one step, kept in a file beside this one."""

import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Final

import hiredis


class Script:
    """Called by the SHA-1 of its text, which a server knows if it has seen the text since its start.

    Args:
        name: of the file in `lua/`, without its ending.
    """

    def __init__(self, name: str) -> None:
        text = files("crplugins.limits").joinpath("lua", f"{name}.lua").read_text("utf-8")
        self.text: Final = text
        self.sha: Final = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def by_name(self, keys: Sequence[str], arguments: Sequence[str | int]) -> bytes:
        """The command as it is sent. Packed by hiredis: redis-py's own packing takes longer than the server."""
        return _packed(("EVALSHA", self.sha, len(keys), *keys, *arguments))

    def by_text(self, keys: Sequence[str], arguments: Sequence[str | int]) -> bytes:
        """The same for a server that does not know the script; from then on it does."""
        return _packed(("EVAL", self.text, len(keys), *keys, *arguments))


def _packed(command: tuple[str | int, ...]) -> bytes:
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]
    return packed


RESERVE: Final = Script("reserve")
SETTLE: Final = Script("settle")
RENEW: Final = Script("renew")
LEVELS: Final = Script("levels")
SEED: Final = Script("seed")
