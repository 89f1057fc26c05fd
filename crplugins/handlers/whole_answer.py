"""A whole answer as bytes: the completion in it, or the failure that an answer without one is.

For every handler: the direct one, and litellm's before litellm reads the answer.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from crplugins.core.dialects import CHAT, Dialect
from crplugins.core.errors import GatewayError
from crplugins.core.errors_in_answers import error_in_answer
from crplugins.core.finish_reasons import is_end, is_failure
from crplugins.core.lenient_json import NOT_JSON, decode_leniently, encoded, first_json_value, object_of, objects_of
from crplugins.core.sse import MAX_DOCUMENT_BYTES, Event, without_comments
from crplugins.core.wire import Choice, Misshapen
from crplugins.handlers import upstream_errors
from crplugins.handlers.error_bodies import NO_STATUS, read_error, read_refusal, status_of, with_told_wait
from crplugins.handlers.faults_of_requests import status_by_words
from crplugins.handlers.http.interface import Response

_MEDIA_TYPES: Final = frozenset({
    "application/json", "application/octet-stream", "application/problem+json", "application/xml", "text/event-stream",
    "text/html", "text/plain", "text/xml",
})  # fmt: skip
"""Those that the log names. Any other is a word of the provider's, which may be its key."""


_PADDING: Final = bytes(range(0x21))
"""Blanks and control characters, NUL among them, after a document."""


class WholeAnswers:
    """Reads the whole answers of one deployment. `secrets` are its keys and addresses, which no client may see."""

    def __init__(self, deployment: str, secrets: Iterable[str | None]) -> None:
        self._deployment = deployment
        self._secrets = tuple(secrets)

    def document_in(self, body: bytes, dialect: Dialect = CHAT) -> Event:
        """The JSON document in `body`, an answer with a 2xx in `dialect`, decoded, in words that its clients can read.

        Without a choice it is none, and its facts have none where the model has failed, or where there is no message,
        such as in a chunk of a stream. Comments before the document and bytes after it are taken off: clients read it
        up to its end.
        """
        document = dialect.document(without_comments(body).rstrip(_PADDING))
        if document.answer is None:
            document = dialect.document(first_json_value(document.raw) or document.raw)
        answer = document.answer
        if answer is None:
            return document
        usage, calls, ends = answer.usage, False, False
        for choice in answer.choices or ():
            usual = choice.finish_reason in _USUAL and choice.message is not None and answer.error is None
            if not usual and (answer.error or is_failure(choice.finish_reason) or _is_piece(choice, dialect)):
                return msgspec.structs.replace(document, answer=Misshapen(answer.model, None, answer.usage))
            ends = ends or usual or is_end(choice.finish_reason)
            calls = calls or choice.message is None or bool(choice.message.tool_calls)
        if calls or (usage is not None and (usage.prompt_tokens is None or usage.completion_tokens is None)):
            document = dialect.readable(document)
            answer = document.answer or answer
        if dialect is CHAT and not ends and answer.choices and not answer.says():  # as a stream that was cut
            return msgspec.structs.replace(document, answer=Misshapen(answer.model, None, answer.usage))
        return document

    def no_completion(self, body: bytes, headers: Mapping[str, str]) -> GatewayError:
        """The failure that a 2xx without a completion is, in any provider's wire.

        A status that the body names is the status: some providers tell their errors in fields of their own, beside a
        200. An error without a status is the provider's failure, and anything else malformed.
        """
        document = _json_in(body)
        if (failed := _failed_choice(document)) is not None:
            error = {"error": failed.get("error")}
            return self.refuse(status_of(error), encoded(error), headers)
        status = status_of(document)
        if status == NO_STATUS and error_in_answer(body) is not None:  # with a code of its own, and words
            status = status_by_words(status, read_error(body), status)
        if status == NO_STATUS and not _has_error(document):
            return self.malformed(f"{len(body)} bytes of {_media_type(headers)} without a completion")
        return self.refuse(status, body, headers)

    def refuse(self, status: int, body: bytes, headers: Mapping[str, str]) -> GatewayError:
        """The refusal in `body`, the answer of an upstream with `status` or an equal one."""
        return upstream_errors.upstream_refusal(
            status,
            read_refusal(body),
            with_told_wait({name.lower(): value for name, value in headers.items()}, body),
            deployment=self._deployment,
            secrets=self._secrets,
        )

    async def rest_of(self, response: Response, head: bytes) -> bytes:
        """The whole body of a response of which `head` has been read. Raises `GatewayError` for a longer one than is
        read."""
        declared = response.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > MAX_DOCUMENT_BYTES:  # not read at all: it would be kept until then
            raise self.too_long()
        parts, size = [head], len(head)
        while piece := await response.read():
            parts.append(piece)
            size += len(piece)
            if size > MAX_DOCUMENT_BYTES:
                raise self.too_long()
        return b"".join(parts)

    def too_long(self) -> GatewayError:
        """The failure of an answer longer than is read."""
        return self.malformed(f"more than {MAX_DOCUMENT_BYTES} bytes")

    def malformed(self, cause: str) -> GatewayError:
        """The failure of an answer that its wire does not allow. `cause` is a sentence of ours."""
        return upstream_errors.malformed(self._deployment, cause)


_USUAL: Final = frozenset({"stop", "length", "tool_calls"})
"""Finish reasons of nearly every answer, which is looked at no further."""


def _is_piece(choice: Choice, dialect: Dialect) -> bool:
    """Whether a choice is that of a chunk, of which more would have followed. What was filtered may have no message."""
    is_said = choice.message is not None or isinstance(choice.text, str)
    return dialect is CHAT and not is_said and choice.finish_reason != "content_filter"


def _failed_choice(document: Any) -> dict[str, Any] | None:
    """A choice that says that the model has failed, and perhaps why (OpenRouter)."""
    choices = objects_of(object_of(document).get("choices"))
    return next((choice for choice in choices if is_failure(choice.get("finish_reason"))), None)


def _media_type(headers: Mapping[str, str]) -> str:
    kind = next((value for name, value in headers.items() if name.lower() == "content-type"), "").partition(";")[0]
    kind = kind.strip().lower()
    return kind if kind in _MEDIA_TYPES else "an unknown type"


def _json_in(body: bytes) -> Any:
    try:
        return decode_leniently(body)
    except NOT_JSON:
        return None


def _has_error(document: Any) -> bool:
    """Google sends the object in a list."""
    first = document[0] if isinstance(document, list) and document else document
    return isinstance(first, dict) and bool(first.get("error"))
