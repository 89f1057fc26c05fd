"""Secrets and addresses as the sections of a configuration have them: without their final newline, and sendable."""

from typing import Any

from pydantic import BeforeValidator

from crplugins.core.final_newline import without_final_newline
from crplugins.settings.section import refusal


def _without_final_newline(value: Any) -> Any:
    return without_final_newline(value) if isinstance(value, str) else value


def sendable(text: str) -> str:
    """`text` without its final newline, if a header can carry the rest (RFC 9110, section 5.5).

    Raises pydantic's refusal for a validator.
    """
    text = without_final_newline(text)
    if text != text.strip() or not (text.isascii() and text.isprintable()):
        raise refusal("must be printable ASCII without spaces around it, or no client could send it")
    return text


def _sendable(value: Any) -> Any:
    return sendable(value) if isinstance(value, str) else value


Sendable = BeforeValidator(_sendable)
"""For the annotation of a key or token that goes into a header."""

OneLine = BeforeValidator(_without_final_newline)
"""For the annotation of any other secret or address: a pepper, the URL of a database."""
