"""AdminToken: the bearer token that requests to the operator's endpoints carry."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from crplugins.core.errors import GatewayError, Header, internal_error
from crplugins.homes.token_digest import TokenDigest
from crplugins.keys.etag import KeyChanged
from crplugins.keys.file import KeyFileError
from crplugins.keys.gathered import KeyFixed
from crplugins.keys.refusals import refused, unavailable
from crplugins.keys.source import SourceUnavailable
from crplugins.keys.store import KeyExists, NoSuchKey
from crplugins.plugins.auth import presented_secret
from crplugins.settings.errors import ConfigError, format_path

logger = logging.getLogger("crplugins.admin")


@contextmanager
def as_gateway_errors() -> Iterator[None]:
    """Failures of a store as answers."""
    try:
        yield
    except NoSuchKey as error:
        raise GatewayError(404, _sentence(error), code="key_not_found") from None
    except KeyChanged as error:
        raise key_changed(error) from None
    except KeyFixed as error:
        raise GatewayError(409, _sentence(error), code="key_fixed") from None
    except KeyExists as error:
        raise GatewayError(409, _sentence(error), param="id", code="key_exists") from None
    except SourceUnavailable:
        raise unavailable() from None
    except KeyFileError as error:
        logger.error("%s", error)
        raise internal_error() from None
    except ConfigError as error:
        first = error.problems[0]
        raise bad_field(format_path(first.path), first.message) from None


def bad_field(param: str, message: str) -> GatewayError:
    return GatewayError(400, f"'{param}' {message}.", param=param, code="invalid_value")


def key_changed(error: KeyChanged) -> GatewayError:
    """412, with the tag of the key as it is now: whoever reads it again finds what has changed."""
    message = f"{_sentence(error)} Read it again, and send its new ETag in If-Match."
    return GatewayError(412, message, code="key_changed", headers=[("etag", error.etag)])


def no_token() -> GatewayError:
    return GatewayError(
        401,
        "You didn't provide the admin token. Send it in an Authorization header (Authorization: Bearer TOKEN).",
        headers=[("www-authenticate", "Bearer")],
    )


def wrong_token() -> GatewayError:
    return refused("Incorrect admin token provided.")


def _sentence(error: Exception) -> str:
    text = str(error)
    return text[:1].upper() + text[1:] + ("" if text.endswith("?") else ".")


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
