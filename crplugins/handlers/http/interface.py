"""What a handler sees of HTTP, whichever client does it: an Endpoint takes requests and gives Responses."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol

NEVER: Final = float("inf")
"""The seconds of no deadline, and when it passes."""

MAX_HEAD_BYTES: Final = 64 * 1024
"""The longest stretch of bytes that are no body: the head of a response with all interim ones before it, trailers, the
extension of a chunk."""


Through = Callable[[bytes], bool]
"""Takes a piece of a body where it comes in, outside of any task. False: whoever reads the body is to go on. Must not
raise."""


class HttpError(Exception):
    """No connection, or one that broke, or bytes that are no HTTP. The text is of ours and quotes nobody."""


class NoConnection(HttpError):
    """There was no connection, so nothing of the request was sent."""


def broken_by(error: BaseException) -> HttpError:
    """The failure that another library's exception is. Of an OSError its own words are kept, which are the system's."""
    words = (error.strerror if isinstance(error, OSError) else None) or ""
    return HttpError(f"{type(error).__name__}: {words}" if words else type(error).__name__)


class ConnectTimeout(TimeoutError):
    """There was no connection in time."""


class WholeTimeout(TimeoutError):
    """The answer was not over in time."""


class Response(Protocol):
    """An answer whose head has come. To be closed in any case.

    Attributes:
        status: never 1xx but 101, which nobody asked for.
    """

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]:
        """By names in lower case; the last of those with one name."""

    @property
    def ended(self) -> bool:
        """Whether the body has come to its end and has been taken."""

    def take(self) -> bytes:
        """What has arrived of the body, decompressed, without waiting; b"" if that is nothing.

        Raises `HttpError` for what cannot be decompressed.
        """

    def read(self) -> Awaitable[bytes]:
        """What has arrived of the body, after a wait if that is nothing; b"" at its end.

        Raises `HttpError` where the connection breaks or the body is cut, `TimeoutError` after the deadline.
        """

    def pass_through(self, through: Through, left: Callable[[], float]) -> None:
        """From now on what comes while `read` waits is given to `through`, until that returns False of a piece, which
        `read` then returns. The end of the body, and what comes with it, is read in any case.

        `left` is asked at the deadline for how many seconds it is to be moved, if at all: to move it for each piece
        would cost more. Without effect where it cannot be done.
        """

    def expire_in(self, seconds: float) -> None:
        """Sets the deadline anew: the connection is closed unless the response is closed or this called before it.

        That of the whole answer stays where it is.
        """

    def close(self, linger: float = 0.0) -> None:
        """Keeps the connection if the body has ended, or ends within `linger` seconds; otherwise closes it at once.

        Without effect the second time.
        """


class Endpoint(Protocol):
    """One URL with its headers, which receives requests."""

    def post(
        self,
        body: bytes,
        headers: Mapping[str, str],
        *,
        connect_seconds: float,
        seconds: float,
        whole_seconds: float = NEVER,
    ) -> Awaitable[Response]:
        """Sends a request, once and never again, and returns when the head of its answer has come.

        A cancellation closes the connection.

        Args:
            headers: besides those of the endpoint.
            connect_seconds: until there is a connection, if a new one is needed.
            seconds: from now to the deadline, which holds until `Response.expire_in` sets another.
            whole_seconds: from now to a deadline that nothing moves.

        Raises `HttpError`, and `TimeoutError`: `ConnectTimeout` where there was no connection, `WholeTimeout` where
        the last deadline has passed.
        """

    def get(self, *, seconds: float) -> Awaitable[Response]:
        """The same without a body, and with one deadline for connecting and answering."""

    def delete(self, *, seconds: float) -> Awaitable[Response]:
        """As `get`."""
