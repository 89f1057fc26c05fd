"""AdminToken: the bearer token that requests to the operator's endpoints carry."""

import logging
from collections.abc import Sequence

from crplugins.core.errors import Header
from crplugins.homes.admin_errors import no_token, wrong_token
from crplugins.homes.token_digest import TokenDigest
from crplugins.plugins.auth import presented_secret

logger = logging.getLogger("crplugins.admin")


class AdminToken:
    """Raises ValueError for an empty one."""

    def __init__(self, token: str) -> None:
        self._token = TokenDigest(token, "admin")

    def check(self, headers: Sequence[Header]) -> None:
        """Raises `GatewayError` 401 for a request without it."""
        presented = presented_secret(headers)
        if presented is None:
            raise no_token()
        if not self._token.matches(presented):
            logger.warning("a request with a wrong admin token is refused")
            raise wrong_token()
