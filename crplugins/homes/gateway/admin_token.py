"""AdminToken: the bearer token that requests to the operator's endpoints carry."""

import logging
from collections.abc import Mapping, Sequence

from crplugins.core.errors import GatewayError, Header
from crplugins.homes.token_digest import TokenDigest
from crplugins.keys.refusals import refused
from crplugins.plugins.auth import presented_secret

logger = logging.getLogger("crplugins.admin")


def bad_field(param: str, message: str) -> GatewayError:
    return GatewayError(400, f"'{param}' {message}.", param=param, code="invalid_value")


def no_token() -> GatewayError:
    return GatewayError(
        401,
        "You didn't provide the admin token. Send it in an Authorization header (Authorization: Bearer TOKEN).",
        headers=[("www-authenticate", "Bearer")],
    )


def wrong_token() -> GatewayError:
    return refused("Incorrect admin token provided.")


class AdminToken:
    """The tokens of operators, by the name under which the audit log knows each. Raises ValueError for an empty one."""

    def __init__(self, tokens: Mapping[str, str]) -> None:
        self._digests = {name: TokenDigest(token, "admin") for name, token in tokens.items()}

    def check(self, headers: Sequence[Header]) -> str:
        """The name of the token. Raises `GatewayError` 401 for a request without one."""
        presented = presented_secret(headers)
        if presented is None:
            logger.warning("a request without the admin token is refused")
            raise no_token()
        found = [name for name, digest in self._digests.items() if digest.matches(presented)]
        if not found:
            logger.warning("a request with a wrong admin token is refused")
            raise wrong_token()
        return found[0]
