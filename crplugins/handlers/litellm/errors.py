"""Failures inside litellm, as the client may see them.

litellm wraps a provider's answer in three exceptions and loses parts of it (`body` is None for a 404, `code` is "429",
headers are empty). But it raises them "from" the original inside `except`, so the HTTP response is in the chain of
causes: status, error object and retry headers are read there. Classes are compared by name: importing litellm's costs
2.5 s. litellm's own sentences name settings of the gateway, or quote the whole answer: no client is shown one.
"""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from traceback import walk_tb
from typing import Any, Final

from crplugins.core.errors import ErrorObject, GatewayError
from crplugins.core.exchange import Attempt
from crplugins.core.lenient_json import encoded
from crplugins.core.log_lines import log_upstream
from crplugins.core.redaction import LONGEST_TEXT, cut
from crplugins.handlers import upstream_errors
from crplugins.handlers.deadlines import CONNECT_TIMEOUT, Missed
from crplugins.handlers.error_bodies import read_refusal, status_of, with_told_wait
from crplugins.handlers.whole_answer import WholeAnswers

logger = logging.getLogger("crplugins.upstream")

_CONNECT_TIMEOUTS: Final = frozenset({"ConnectTimeout", "ConnectionTimeoutError"})
_TIMEOUTS: Final = frozenset({"TimeoutException", "APITimeoutError", "TimeoutError", "Timeout"})
_BROKEN: Final = frozenset(
    {"TransportError", "ClientError", "HttpError", "OSError", "StreamError", "IncompleteReadError"}
)
_NO_CONNECTION: Final = frozenset({"ConnectError", "ClientConnectorError", "NoConnection"})
_CONNECTED: Final = frozenset({"ReadError", "WriteError", "RemoteProtocolError", "ServerDisconnectedError"})
"""What a client that tries again by itself may have met before or after it found no connection."""

_UNREADABLE: Final = (AttributeError, LookupError, TypeError, ValueError)
"""What litellm runs into where an answer has another shape than it takes for granted."""

# OpenAI's codes for litellm's exceptions, where the provider's error object has none.
_CODES: Final = {
    "ContextWindowExceededError": "context_length_exceeded",
    "ContentPolicyViolationError": "content_policy_violation",
}
_NO_DOCUMENT: Final = "Empty or invalid response from LLM endpoint"
"""How litellm begins its own error with status 500 for a 2xx whose body OpenAI's SDK did not read."""

_WRITING: Final = frozenset(
    {
        "transform_request", "async_transform_request", "_transform_request", "_async_transform_request",
        "transform_messages", "_transform_messages", "map_openai_params", "get_optional_params", "encode_request",
    }
)  # fmt: skip
"""What is called, of litellm and httpx, to write a request of a client's, before any is sent. What fails there fails
for what the request says: a picture that is none, arguments of a call that are no JSON, a result without a call."""

_DOWNLOADING: Final = frozenset({"get_image_details", "get_image_details_async", "safe_get", "async_safe_get"})
"""What is called for a picture that is to be sent along."""

_CLASSES: Final = re.compile(r"(?:[\w.]{1,80}(?:Error|Exception)\s{0,4}[:-]\s{0,4})*+", re.ASCII)
_LONGEST_DOCUMENT: Final = 64 * 1024

_UNSUPPORTED: Final = re.compile(r"does not support parameters: [\[{]([^\]}]{0,500})[\]}]")
_QUOTED: Final = re.compile(r"'([^']+)'")


class Failures:
    """Failures of one deployment. `secrets` are its keys and addresses, which must not reach a client."""

    def __init__(self, deployment: str, secrets: Iterable[str | None]) -> None:
        self._deployment = deployment
        self._secrets = tuple(secrets)
        self.whole = WholeAnswers(deployment, self._secrets)

    def of(self, error: BaseException, *, reading: bool = False, begun: bool = False) -> GatewayError:
        """The GatewayError for an exception of litellm or its HTTP client.

        Args:
            reading: a provider had answered with a 2xx, and litellm was reading that answer.
            begun: a part of the answer was sent.
        """
        links = list(_chain(error))
        try:
            return self._of(error, links, reading=reading, begun=begun)
        finally:
            for link in links:  # litellm's record of the call has it, and its frames have that record and the request
                link.__traceback__ = None

    def _of(self, error: BaseException, links: list[BaseException], *, reading: bool, begun: bool) -> GatewayError:
        for link in links:
            if isinstance(link, GatewayError):
                return link
        names = {kind.__name__ for link in links for kind in type(link).__mro__}
        if not (reading or begun) and (fault := self._of_writing(links, names)) is not None:
            return fault
        if (answer := _answer(links)) is not None:
            return self._refusal(*answer, names)
        if names & _CONNECT_TIMEOUTS:
            return self.timed_out("connect_timeout", CONNECT_TIMEOUT)
        if names & _TIMEOUTS:
            return self.timed_out("timeout", None)
        if names & _BROKEN:
            sent = names.isdisjoint(_NO_CONNECTION) or not names.isdisjoint(_CONNECTED)
            return self.cut_short(error) if begun else upstream_errors.unreachable(self._deployment, error, sent=sent)
        if reading and isinstance(links[-1], _UNREADABLE):  # the status of litellm's exception around it is invented
            return self.malformed(links[-1])
        return self._by_status(links, names)

    def _of_writing(self, links: list[BaseException], names: set[str]) -> GatewayError | None:
        """The fault of a request that litellm cannot write for its provider; None where it was another one's.

        Whatever the host of a picture has answered, it is not the provider.
        """
        if "ImageFetchError" in names:
            return _no_picture()
        if "UnsupportedParamsError" in names and _answer(links) is None:
            return _unsupported(str(links[0]))
        steps = _steps(links)
        if "AuthenticationError" in names or steps.isdisjoint(_WRITING):
            return None
        if "SSRFError" in names or not steps.isdisjoint(_DOWNLOADING):
            return _no_picture()
        return upstream_errors.not_written(self._deployment, links[-1])

    def in_stream(self, error: object) -> GatewayError:
        """The GatewayError for an error object that was an event of a stream."""
        status = status_of(error)
        return self._refusal(status, encoded({"error": error}), {}, frozenset())

    def note(self, text: str, *args: object) -> None:
        """A line of the log about this deployment."""
        log_upstream(logger, self._deployment, text, *args)

    def timed_out(self, missed: Missed, seconds: float | None) -> GatewayError:
        return upstream_errors.timed_out(self._deployment, missed, seconds)

    def cut_short(self, cause: str | BaseException) -> GatewayError:
        return upstream_errors.cut_short(self._deployment, cause)

    def leaves_out(self, attempt: Attempt, most: int) -> bool:
        return upstream_errors.leaves_out(self._deployment, attempt, most)

    def malformed(self, cause: str | BaseException) -> GatewayError:
        return upstream_errors.malformed(self._deployment, cause)

    def _by_status(self, links: list[BaseException], names: set[str]) -> GatewayError:
        """For providers without an HTTP response (boto3), and for requests that litellm itself refuses."""
        for link in links:
            status = getattr(link, "status_code", None)
            body = getattr(link, "body", None)
            if isinstance(body, dict) and status is None:  # the SDK read an error event
                return self.in_stream(body)
            if isinstance(status, int) and 400 <= status < 600 and "JSONDecodeError" not in names:
                text = str(getattr(link, "message", link))
                if _NO_DOCUMENT in text:
                    return self.malformed("an answer that is no document")
                headers = _lowered(getattr(link, "headers", None) or getattr(link, "litellm_response_headers", None))
                return self._refusal(status, _providers_document(text), headers, names)
        return self.malformed(links[-1])

    def _refusal(self, status: int, body: bytes, headers: Mapping[str, str], names: Iterable[str]) -> GatewayError:
        error = _read(body)
        known = next((_CODES[name] for name in names if name in _CODES), None)
        if known is not None and (error.code is None or error.code.isdigit()):
            error = ErrorObject(error.message, error.type, error.param, known)
        told = with_told_wait(headers, body)
        return upstream_errors.upstream_refusal(status, error, told, deployment=self._deployment, secrets=self._secrets)


def _providers_document(text: str) -> bytes:
    """The JSON of a provider's error behind the names of litellm's exceptions; nothing of a sentence of litellm's."""
    start = classes.end() if (classes := _CLASSES.match(text)) is not None else 0
    return (
        text[start : start + _LONGEST_DOCUMENT].encode("utf-8", "replace") if text[start : start + 1] in "[{" else b""
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and its causes, outermost first. MidStreamFallbackError keeps its cause in an attribute."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        inner = getattr(error, "original_exception", None)
        error = inner if isinstance(inner, BaseException) else error.__cause__ or error.__context__


def _steps(links: Iterable[BaseException]) -> set[str]:
    """The names of the functions in which the errors were raised."""
    return {frame.f_code.co_name for link in links for frame, _ in walk_tb(link.__traceback__)}


def _answer(links: Iterable[BaseException]) -> tuple[int, bytes, Mapping[str, str]] | None:
    """Status, body and headers of the provider's answer, if the chain has one.

    Only httpx's own error has it: the responses of litellm's exceptions are invented, without content or headers.
    """
    for link in links:
        response: Any = getattr(link, "response", None)
        if response is not None and any(kind.__name__ == "HTTPStatusError" for kind in type(link).__mro__):
            return response.status_code, _content(response), _lowered(response.headers)
    return None


def _content(response: Any) -> bytes:
    try:
        return bytes(response.content)
    except Exception:  # the body of a streamed answer was not read; its status is enough
        return b""


def _lowered(headers: object) -> Mapping[str, str]:
    return {str(k).lower(): str(v) for k, v in headers.items()} if isinstance(headers, Mapping) else {}


def _read(body: bytes) -> ErrorObject:
    """The error object in `body`. Google sends a list with one, which litellm may have cut."""
    text = body.strip()
    if text.startswith(b"["):
        text = text[1:].rpartition(b"]")[0].strip() or text
    return read_refusal(text)


def _no_picture() -> GatewayError:
    """litellm has to send a picture along, and its address, which is the client's, leads to none.

    Its sentence is not shown: it says what of the gateway's network can be reached.
    """
    return GatewayError(400, "A picture of this request could not be downloaded.", code="invalid_image_url")


def _unsupported(message: str) -> GatewayError:
    """litellm's own refusal of a parameter, before any request was sent."""
    listed = _UNSUPPORTED.search(cut(message, LONGEST_TEXT))
    named = _QUOTED.search(listed[1]) if listed else None
    if named is None:
        message = "A parameter of this request is not supported with this model."
        return GatewayError(400, message, code="unsupported_parameter")
    message = f"Unsupported parameter: '{named[1]}' is not supported with this model."
    return GatewayError(400, message, param=named[1], code="unsupported_parameter")
