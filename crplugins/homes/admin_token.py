"""AdminToken: the bearer token that requests to the operator's endpoints carry."""

import hmac
import logging
from collections.abc import Sequence
from hashlib import sha256

from crplugins.core.errors import Header
from crplugins.homes.admin_errors import no_token, wrong_token
from crplugins.plugins.auth_headers import presented_secret

logger = logging.getLogger("crplugins.admin")


class AdminToken:
    """Raises ValueError for an empty one."""

    def __init__(self, token: str) -> None:
        if not token:
            raise ValueError("the admin token must not be empty")
        self._digest = sha256(token.encode()).digest()

    def check(self, headers: Sequence[Header]) -> None:
        """Raises `GatewayError` 401 for a request without it."""
        presented = presented_secret(headers)
        if presented is None:
            raise no_token()
        if not hmac.compare_digest(sha256(presented.encode("latin-1")).digest(), self._digest):
            logger.warning("a request with a wrong admin token is refused")
            raise wrong_token()
