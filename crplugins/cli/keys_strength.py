"""How well the secret of another system stands against guessing."""

from typing import Final

from crplugins.keys.secrets import PREFIX, has_valid_checksum

SHORTEST: Final = 24
"""Characters. Below it a secret of the usual alphabets has less than some 120 random bits."""

_FEWEST_KINDS: Final = 10


def weakness(secret: str) -> str | None:
    """What is wrong with a secret, without any part of it; None for a good one."""
    if has_valid_checksum(secret):
        return None
    if secret.startswith(PREFIX):
        return f"begins with {PREFIX} but has a wrong checksum, and is refused unseen"
    if len(secret) < SHORTEST:
        return f"has {len(secret)} characters, fewer than {SHORTEST}: it may be guessed"
    if len(set(secret)) < _FEWEST_KINDS:
        return f"is made of {len(set(secret))} different characters: it may be guessed"
    return None
