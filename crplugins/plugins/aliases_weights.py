"""Weighted targets: which caller goes where."""

import hashlib
from collections.abc import Sequence

from crplugins.core.principal import Principal


def pick(alias: str, weights: Sequence[int], caller: str) -> int:
    """The index of the target: always the same for a caller and an alias, spread over callers by the weights.

    A hash picks a point between 0 and the sum of the weights, so a change of weights moves no more callers than it
    must. At least one weight is above 0.
    """
    digest = hashlib.blake2b(f"{alias}\0{caller}".encode(), digest_size=8).digest()
    point = int.from_bytes(digest) * sum(weights) >> 64
    for index, weight in enumerate(weights):
        point -= weight
        if point < 0:
            return index
    raise ValueError(f"the alias '{alias}' has no target with a weight above 0")


def caller_of(principal: Principal | None, user: str | None) -> str | None:
    """Whom a weighted alias is sticky for: the key, or each end user of it that requests name. None if neither."""
    if user:
        return f"{principal.key_id if principal else ''}\0{user}"
    return principal.key_id if principal else None
