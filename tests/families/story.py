"""What a family of providers sends, and what is right: the words in which the files of this folder are written.

A `Family` is one provider and one of its APIs. It has six `Case`s, each as the bytes of a stream and as a plain answer,
with the exact values that must come out of them (`Right`).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from crplugins.core.usage import TokenUsage

Json = Mapping[str, Any]

ORDINARY, THINKING, TOOLS = "ordinary", "thinking", "parallel tools"
CUT_IN_THE_MIDDLE, CUT_AT_THE_END, ERROR_INSIDE = "cut in the middle", "cut at the end", "error inside"
NAMES = (ORDINARY, THINKING, TOOLS, CUT_IN_THE_MIDDLE, CUT_AT_THE_END, ERROR_INSIDE)


@dataclass(frozen=True)
class Right:
    """What must come out.

    Attributes:
        calls: (name, arguments) of each tool call, in order.
        usage: of a whole answer what the record must hold exactly. Of an unfinished one what the provider had counted:
            the record's input is that, its output at least that. None if the provider had counted nothing.
        shown: (prompt_tokens, completion_tokens) as the provider writes them, where they are not the sums of `usage`
            and its bytes pass through.
        thoughts_counted: the provider says how many tokens of `usage` were reasoning; else litellm counts their text.
        failed: the client is told of an error, and the record says so.
    """

    text: str = ""
    reasoning: str = ""
    calls: tuple[tuple[str, Json], ...] = ()
    finish: str | None = "stop"
    usage: TokenUsage | None = None
    shown: tuple[int, int] | None = None
    thoughts_counted: bool = True
    failed: bool = False


@dataclass(frozen=True)
class Plain:
    """An answer to a request without `stream`."""

    body: bytes
    status: int = 200
    content_type: str = "application/json"


@dataclass(frozen=True)
class Case:
    """One answer, streamed and plain.

    Attributes:
        stream: the pieces in which the provider writes it.
        broken: the connection is closed inside the body; else the body ends as HTTP has it.
        plain_right: where the plain answer differs from what is right for the stream.
    """

    name: str
    stream: Sequence[bytes]
    plain: Plain
    right: Right
    broken: bool = False
    plain_right: Right | None = None

    def right_for(self, *, streamed: bool) -> Right:
        return self.right if streamed or self.plain_right is None else self.plain_right


@dataclass(frozen=True)
class Family:
    """One provider's API.

    Attributes:
        model: litellm's name for the provider and a model of it.
        direct: the same for the direct handler; None if the family does not speak OpenAI's wire.
        path: what `api_base` has behind the address for litellm.
        parameters: more `litellm_params` for litellm.
    """

    name: str
    model: str
    cases: tuple[Case, ...]
    direct: str | None = None
    path: str = "/v1"
    content_type: str = "text/event-stream"
    parameters: Json = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert tuple(case.name for case in self.cases) == NAMES, f"{self.name} has other cases"


Handler = Literal["direct", "litellm", "foreign"]


def counted(
    input_tokens: int, output_tokens: int, *, cached: int = 0, written: int = 0, reasoning: int = 0
) -> TokenUsage:
    return TokenUsage(input_tokens, output_tokens, cached, written, reasoning)


def sse(data: Json | str, event: str | None = None, *, end: str = "\n\n") -> bytes:
    """One server-sent event."""
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    head = f"event: {event}\n" if event is not None else ""
    return f"{head}data: {text}{end}".encode()


def document(body: Any, status: int = 200) -> Plain:
    return Plain(json.dumps(body, ensure_ascii=False).encode(), status)


def cut(plain: Plain, after: float = 1.0) -> Plain:
    """The first part of a document; without a share all but its last byte."""
    length = min(int(len(plain.body) * after), len(plain.body) - 1)
    return Plain(plain.body[:length], plain.status, plain.content_type)


def half(frame: bytes) -> bytes:
    """An event that was cut off inside."""
    return frame[: len(frame) // 2]


FAILED = Right(failed=True, finish=None)
"""A plain answer that was cut or refused."""


def cases(
    ordinary: Case,
    thinking: Case,
    tools: Case,
    *,
    middle: Right,
    at_end: Right,
    error: Case,
    end: int,
    inside: bool = False,
) -> tuple[Case, ...]:
    """All six: the cut ones are made of the ordinary one.

    Args:
        middle: what is right for its first half.
        at_end: what is right for all of it but its `end` last pieces, with which the family ends an answer.
        inside: the first half ends inside an event.
    """
    pieces = list(ordinary.stream)
    first = pieces[: len(pieces) // 2]
    if inside:
        first.append(half(pieces[len(first)]))
    return (
        ordinary,
        thinking,
        tools,
        Case(CUT_IN_THE_MIDDLE, first, cut(ordinary.plain, 0.5), middle, broken=True, plain_right=FAILED),
        Case(CUT_AT_THE_END, pieces[:-end], cut(ordinary.plain), at_end, plain_right=FAILED),
        error,
    )
