"""TokenDigest: a token that is compared in constant time, and kept as its digest alone."""

import hmac
from hashlib import sha256

from crplugins.core.final_newline import without_final_newline


class TokenDigest:
    """Raises ValueError for an empty token; `what` says whose it is there."""

    def __init__(self, token: str, what: str) -> None:
        token = without_final_newline(token)
        if not token:
            raise ValueError(f"the {what} token must not be empty")
        self._digest = sha256(token.encode()).digest()

    def matches(self, presented: str) -> bool:
        """Whether this text of a header is it."""
        return hmac.compare_digest(sha256(presented.encode("latin-1")).digest(), self._digest)
