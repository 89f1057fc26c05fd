"""Takes usage out of chunks for a client that did not ask for it; every other byte stays."""

from typing import Any, Final

from crplugins.core.body import Body
from crplugins.core.sse import Event

_NULLS: Final = (b',"usage":null', b', "usage": null')
_HEAD: Final = frozenset({
    "id", "object", "created", "model", "system_fingerprint", "service_tier", "choices", "usage", "obfuscation",
    "provider", "x_groq",
})  # fmt: skip
"""What a chunk has beside what it says. A chunk of these alone, with usage, is the usage chunk."""


def without_usage(event: Event) -> Event | None:
    """The event without usage; None for the chunk that is nothing else. `event.data` mentions usage somewhere."""
    data = event.data or b""
    shortened = _without_null(data)
    if shortened is not None:
        return event.with_data(shortened)
    answer = event.answer
    if answer is None:  # a text that is no JSON, or [DONE]
        return event
    body = Body(data)
    if answer.counted is not None and answer.error is None and _says_nothing(body):
        return None
    return _stripped(event, body)


def _without_null(data: bytes) -> bytes | None:
    """`"usage":null`, as OpenAI writes it on every chunk, cut out without parsing; None where that cannot be done.

    A quote after a comma begins a key or a text, and what follows makes it a key. It is one of the chunk itself if
    only one object still has to be closed behind it.
    """
    for null in _NULLS:
        at = data.rfind(null)
        if at > 0 and data.count(b"}", at) == 1 and data.count(b"usage") == 1:
            return data[:at] + data[at + len(null) :]
    return None


def _says_nothing(body: Body) -> bool:
    """No choices, or empty ones (a LiteLLM proxy sends `{"index": 0, "delta": {}}`), and nothing else of interest."""
    choices = body.get("choices", list)
    if choices is None or any(not _is_empty(choice) for choice in choices):
        return False
    return all(key in _HEAD or body.get(key) in (None, [], {}) for key in body)


def _is_empty(choice: Any) -> bool:
    return isinstance(choice, dict) and not choice.get("delta") and choice.get("finish_reason") is None


def _stripped(event: Event, body: Body) -> Event:
    before = body.raw
    body.remove("usage")
    groq = body.get("x_groq")
    if isinstance(groq, dict) and "usage" in groq:
        body.set("x_groq", {name: value for name, value in groq.items() if name != "usage"})
    return event if body.raw is before else event.with_data(body.raw)
