"""What a client without a good key is told: OpenAI's wording where OpenAI has one, but for where to get a key.

OpenAI's page has none for this gateway, and would take one that was meant for it.
"""

from typing import Literal

from crplugins.core.errors import SERVER_ERROR, GatewayError
from crplugins.keys.source import RefusalReason

AuthReason = Literal["missing", "unknown", "disabled", "revoked", "unavailable"] | RefusalReason
"""Why a request was refused: a closed set, so that it can be counted."""


def no_key() -> GatewayError:
    return GatewayError(
        401,
        "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth "
        "(i.e. Authorization: Bearer YOUR_KEY), or as the password field (with blank username) if you're accessing the "
        "API from your browser and are prompted for a username and password. You can obtain an API key from whoever "
        "runs this gateway.",
        headers=[("www-authenticate", "Bearer")],
    )


def wrong_key(secret: str) -> GatewayError:
    return refused(
        f"Incorrect API key provided: {masked(secret)}. You can obtain an API key from whoever runs this gateway."
    )


def refused(message: str) -> GatewayError:
    """401 for a key that was shown and is no good."""
    return GatewayError(
        401, message, code="invalid_api_key", headers=[("www-authenticate", 'Bearer error="invalid_token"')]
    )


def unavailable() -> GatewayError:
    """503: nobody can tell now whether the key is good. Clients drop a key on 401, and retry on this."""
    return GatewayError(
        503,
        "API keys cannot be checked at the moment. Please retry your request.",
        type=SERVER_ERROR,
        headers=[("retry-after", "2")],
    )


def masked(secret: str) -> str:
    """A key as an error may show it: enough to tell which of one's own keys it was, too little to use it.

    Nothing of a short key is shown: four characters of eight would be half of it.
    """
    if len(secret) < 16:
        return "*" * len(secret)
    prefix = secret[:3] if secret.startswith("sk-") else ""
    return f"{prefix}****{secret[-4:]}"
