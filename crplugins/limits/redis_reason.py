"""Why Redis did not do what it was asked, in words that tell no address and no credential."""

import re
import socket
import ssl
from typing import Final

from redis import exceptions

_TEXTS: Final = (
    (re.compile(r"NOAUTH|Authentication required|unauthenticated"), "asks for a password"),
    (re.compile(r"READONLY"), "is a replica, which cannot be written to"),
    (re.compile(r"\bOOM\b"), "is out of memory"),
    (re.compile(r"NOPERM|user executing the script"), "does not permit this user to use our scripts and keys"),
    (re.compile(r"MISCONF|NOREPLICAS"), "refuses to write, for it cannot keep what is written"),
    (re.compile(r"\bBUSY\b"), "is busy with another script"),
)
"""Of errors of one class, or of a command in a script, which its own error repeats somewhere in its text."""

_CLASSES: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (exceptions.AuthenticationError, "refuses the user name or password"),
    (exceptions.NoPermissionError, "does not permit this user to use our scripts and keys"),
    (exceptions.ReadOnlyError, "is a replica, which cannot be written to"),
    (exceptions.OutOfMemoryError, "is out of memory"),
    (exceptions.BusyLoadingError, "is still loading its data"),
    (exceptions.MasterDownError, "is a replica that has lost its master"),
    (exceptions.ClusterDownError, "is a node of a cluster that is down"),
    (exceptions.AskError, "is a node of a cluster that does not hold our keys"),
    (TimeoutError, "does not answer in time"),
    (socket.gaierror, "has a host name that cannot be resolved"),
    (ssl.SSLCertVerificationError, "has a certificate that cannot be verified"),
    (ssl.SSLError, "does not agree on TLS"),
    (ConnectionRefusedError, "refuses the connection"),
    (FileNotFoundError, "has no socket at this path"),
    (PermissionError, "has a socket that may not be opened"),
    (OSError, "cannot be reached"),
    (exceptions.ConnectionError, "closed the connection"),
)


def reason_of(error: BaseException) -> str:
    """A verb phrase, of which the server is the subject."""
    if isinstance(error, exceptions.RedisError):
        for pattern, reason in _TEXTS:
            if pattern.search(str(error)):
                return reason
    causes = _with_causes(error)
    for kind, reason in _CLASSES:
        if any(isinstance(cause, kind) for cause in causes):
            return reason
    return f"failed with {type(error).__name__}"


def _with_causes(error: BaseException | None) -> list[BaseException]:
    """redis-py wraps what the operating system says."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found
