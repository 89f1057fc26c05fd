"""What a store of keys raises, as answers to operators."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from crplugins.core.errors import GatewayError, internal_error
from crplugins.homes.gateway.admin_token import bad_field
from crplugins.keys.etag import KeyChanged
from crplugins.keys.gathered import KeyFixed
from crplugins.keys.refusals import unavailable
from crplugins.keys.source import SourceUnavailable
from crplugins.keys.store import KeyExists, KeyFileError, NoSuchKey
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


def key_changed(error: KeyChanged) -> GatewayError:
    """412, with the tag of the key as it is now: whoever reads it again finds what has changed."""
    message = f"{_sentence(error)} Read it again, and send its new ETag in If-Match."
    return GatewayError(412, message, code="key_changed", headers=[("etag", error.etag)])


def _sentence(error: Exception) -> str:
    text = str(error)
    return text[:1].upper() + text[1:] + ("" if text.endswith("?") else ".")
