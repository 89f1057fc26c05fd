"""Why Redis did not do what it was asked, in words that tell no address and no credential."""

import re
import socket
import ssl
from typing import Final

from redis.exceptions import AuthenticationError, RedisError

_CODES: Final = {
    "WRONGPASS": "refuses the user name or password",
    "NOAUTH": "asks for a password, and the URL has none",
    "NOPERM": "does not permit this user to run the scripts or to use the keys",
    "READONLY": "is a replica, which cannot be written to",
    "LOADING": "is still loading its data",
    "OOM": "is out of memory",
    "BUSY": "is busy with somebody else's script",
    "MISCONF": "cannot write to its disk and therefore refuses",
    "MASTERDOWN": "is a replica that has lost its master",
    "NOREPLICAS": "has too few replicas and therefore refuses",
    "CLUSTERDOWN": "is a node of a cluster that is down",
    "CROSSSLOT": "is a cluster and found keys of several slots",
    "MOVED": "is a node of a cluster that does not hold the keys; the URL must be of one that does, or of a proxy",
    "ASK": "is a node of a cluster that is moving the keys to another",
}
"""By the word with which Redis begins an error. A script repeats the errors of its commands somewhere in its own."""

_CODE: Final = re.compile(rf"\b({'|'.join(_CODES)})\b")


def reason_of(error: BaseException) -> str:
    """A verb phrase, of which the store is the subject."""
    code = _CODE.search(str(error)) if isinstance(error, RedisError) else None
    if code:
        return _CODES[code[1]]
    for found in _with_causes(error):
        for kind, reason in _KINDS:
            if isinstance(found, kind):
                return reason
    return f"failed with {type(error).__name__}"


_KINDS: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (AuthenticationError, "refuses the user name or password"),
    (TimeoutError, "does not answer in time"),
    (socket.gaierror, "has a host name that cannot be resolved"),
    (ssl.SSLCertVerificationError, "has a certificate that cannot be verified"),
    (ssl.SSLError, "does not agree on TLS"),
    (ConnectionRefusedError, "refuses the connection"),
    (FileNotFoundError, "has no socket at this path"),
    (PermissionError, "has a socket that may not be opened"),
    (OSError, "cannot be reached"),
)


def _with_causes(error: BaseException | None) -> list[BaseException]:
    """redis-py wraps what the operating system says, sometimes twice."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found
