"""What went wrong with a request, decided in one place for every home."""

from typing import TYPE_CHECKING

from crplugins.core.outcome import OUTCOMES, ErrorType, answered_with

if TYPE_CHECKING:
    from crplugins.core.exchange.exchange import Exchange


def error_type_of(exchange: "Exchange", *, answered: bool, left: bool, complete: bool) -> ErrorType:
    """What went wrong, when the answer is over; "" for nothing.

    Args:
        answered: an answer began, if only the server's own error page.
        left: the client has disconnected.
        complete: the answer came to its end.
    """
    if left:
        return "client_disconnected"
    status, error_type = exchange.status or 500, exchange.error_type
    if status < 400 and (exchange.failed_in_stream or not complete):  # the client had been promised an answer
        return error_type if OUTCOMES[error_type] == "server_error" else "upstream_stream_broken"
    if error_type:  # a refusal by a plugin or handler names its type
        return error_type
    if not answered:
        return "internal"
    return answered_with(status) if status >= 400 else ""
