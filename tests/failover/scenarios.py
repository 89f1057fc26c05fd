"""What goes wrong at the first deployment, at the second, and how it must end: one table, read by every home.

Times are tenths of seconds where the world has tens of seconds. A fault is a list of scripts, one for each call of that
deployment, the last for all further calls.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final, Literal, get_args

from crplugins.handlers.routing.on_break import Action
from crplugins.testing import Script
from tests.failover.wall import WORDS, words

Form = Literal["stream", "plain"]
Faults = Sequence[Script]

COMMON: Final[Mapping[str, Any]] = {"first_token_timeout": 60, "stall_timeout": 60, "timeout": 120}
"""Longer than any answer takes on a busy machine."""

_FIRST_WORD: Final = {"first_token_timeout": 1.5}
_NEXT_WORD: Final = {"stall_timeout": 3}
"""Seconds after which a first deployment is given up that says nothing, or nothing more."""

WHOLE_ANSWER: Final = {"first_token_timeout": 1.5}
"""The same for one that does not stream, while there is another."""
ALONE: Final = {"timeout": 1.5}
"""And where there is none."""
SAID: Final = 20
"""Words before a stream breaks, of WORDS."""

_ROLE: Final = 1  # frames: the role, a word each, the finish reason, usage, [DONE]
_BROKEN_AT: Final = _ROLE + SAID
_FINISHED: Final = _ROLE + WORDS + 1
_COUNTED: Final = _FINISHED + 1
_NEVER: Final = 60.0


@dataclass(frozen=True)
class End:
    """How it must end.

    Attributes:
        sees: `first` or `second`: the whole answer of that one; `joint`: the first's words and then the second's;
            `broken`: a beginning, an error frame and [DONE]; `refused`: `status` and `code`; `tool`: one whole call.
        calls: how often each deployment may have been called.
        served: whose name stands in the record.
    """

    sees: Literal["first", "second", "joint", "broken", "refused", "tool", "left"]
    calls: Iterable[tuple[int, int]]
    served: Literal["first", "second"] = "second"
    status: int = 200
    code: str | None = None


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One line of the table.

    Attributes:
        plain: what the first does to a request that does not stream, where that has to be written otherwise.
        settings: of both deployments, beside COMMON.
        given_up: settings of the first alone, whose silence is waited out.
        fallback: the second is another model name, and the first's of this kind.
        ends: by `on_break` for streams; `*` for those that are not named.
        plain_end: None where there is no such thing as a plain answer of this kind.
        tools: the request asks for a tool call.
        more: of the request's parameters.
        works_unseen: a deployment works and does not say for how many tokens: its worth is what it is worth alone.
        drips: how far the first comes is a matter of time, so that its worth is not known to the token.
        pauses: seconds that must pass between the first two calls of the first deployment.
        leaves: the client leaves when the second deployment has been called.
    """

    name: str
    first: Faults
    ends: Mapping[str, End]
    plain: Faults | None = None
    plain_end: End | None = None
    second: Faults = (Script(),)
    second_takes_prefix: bool = True
    unreachable: bool = False
    settings: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    given_up: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    fallback: str | None = None
    tools: bool = False
    more: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    works_unseen: bool = False
    drips: bool = False
    pauses: float = 0.0
    leaves: bool = False

    def end(self, form: Form, on_break: Action) -> End | None:
        return self.plain_end if form == "plain" else self.ends.get(on_break, self.ends.get("*"))

    def faults(self, form: Form) -> Faults:
        return self.plain if form == "plain" and self.plain is not None else self.first


def _frames(letter: str, *, counted: Mapping[str, Any] | None = None) -> list[bytes]:
    """A stream as the fake model says it, for faults that no script has. Without usage unless `counted`."""
    chunk = {"id": f"chatcmpl-{letter}", "object": "chat.completion.chunk", "created": 1_780_000_000, "model": letter}

    def event(delta: Mapping[str, Any], finish: str | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return b"data: " + json.dumps({**chunk, "choices": [choice], **more}).encode() + b"\n\n"

    said = [words(letter, number, number) for number in range(1, WORDS + 1)]
    running = [{"usage": _usage(17, number)} if counted is not None else {} for number in range(1, WORDS + 1)]
    texts = [event({"content": word}, **more) for word, more in zip(said, running, strict=True)]
    last = {"usage": counted} if counted else {}
    return [event({"role": "assistant", "content": ""}), *texts, event({}, "stop", **last), DONE]


def _thinking(letter: str) -> list[bytes]:
    """The same words, thought and not said."""
    return [
        frame.replace(b'"content": "' + letter.encode(), b'"reasoning_content": "' + letter.encode()).replace(
            b'"content": " ' + letter.encode(), b'"reasoning_content": " ' + letter.encode()
        )
        for frame in _frames(letter)
    ]


def _usage(prompt: int, completion: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


DONE: Final = b"data: [DONE]\n\n"
_BROKEN_JSON: Final = (
    b'data: {"id":"chatcmpl-x","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"con\n\n'
)
_ERROR_FRAME: Final = b'data: {"error":{"message":"The model is overloaded.","type":"server_error","code":503}}\n\n'
_PINGS: Final = [b": still here\n\n", b"data: {}\n\n", b'event: ping\ndata: {"type": "ping"}\n\n'] * 300

_LIMITED: Final = Script.rate_limited(retry_after=None)
_OVERLOADED: Final = Script.error(503, "The engine is overloaded.", "server_error", code="overloaded")
_CONTEXT: Final = Script.error(
    400, "This model's maximum context length is 8192 tokens, however you requested 9000.", param="messages",
    code="context_length_exceeded",
)  # fmt: skip
_CONTEXT_FRAME: Final = b"data: " + json.dumps(_CONTEXT.body).encode() + b"\n\n"
_FILTERED: Final = Script.error(400, "The prompt was flagged by our policy.", code="content_policy_violation")
_HALF_A_BODY: Final = Script(write=200, cut_after=1)


def _everywhere(sees: Any, calls: Iterable[tuple[int, int]], served: Any = "second", **more: Any) -> dict[str, End]:
    return {"*": End(sees, tuple(calls), served, **more)}


# What a stream that broke after SAID words comes to.
_BREAKS: Final[Mapping[str, End]] = {
    "error": End("broken", [(1, 0)], "first"),
    "restart": End("second", [(1, 1)]),
    "continue": End("joint", [(1, 1)]),
}
_SECOND: Final = End("second", [(1, 1)])
_FIRST: Final = End("first", [(1, 0)], "first")

SCENARIOS: Final[Sequence[Scenario]] = (
    # One is refused before anything is said.
    Scenario(
        name="limited-once",
        first=[Script.rate_limited(None, {"retry-after-ms": "300"}), Script()],
        ends=_everywhere("first", [(2, 0)], "first"),
        plain_end=End("first", [(2, 0)], "first"),
        pauses=0.29,
    ),
    Scenario(
        name="limited-once-for-a-second",
        first=[Script.rate_limited(1), Script()],
        ends=_everywhere("first", [(2, 0)], "first"),
        plain_end=End("first", [(2, 0)], "first"),
        pauses=0.99,
    ),
    Scenario(
        name="limited-always",
        first=[_LIMITED],
        ends=_everywhere("second", [(1, 1), (2, 1)]),
        plain_end=End("second", [(1, 1), (2, 1)]),
    ),
    Scenario(
        name="limited-for-long",
        first=[Script.rate_limited(45)],
        ends=_everywhere("second", [(1, 1)]),
        plain_end=_SECOND,
    ),
    Scenario(
        name="failed-once",
        first=[Script(status=500), Script()],
        ends=_everywhere("first", [(2, 0)], "first"),
        plain_end=End("first", [(2, 0)], "first"),
    ),
    Scenario(
        name="overloaded-always",
        first=[_OVERLOADED],
        ends=_everywhere("second", [(2, 1)]),
        plain_end=End("second", [(2, 1)]),
    ),
    Scenario(
        name="no-retries",
        first=[_OVERLOADED],
        settings={"num_retries": 0},
        ends=_everywhere("second", [(1, 1)]),
        plain_end=_SECOND,
    ),
    Scenario(
        name="both-overloaded",
        first=[_OVERLOADED],
        second=[Script(status=500)],
        ends=_everywhere("refused", [(2, 2)], status=500, code="upstream_error"),
        plain_end=End("refused", [(2, 2)], status=500, code="upstream_error"),
    ),
    Scenario(
        name="connection-refused",
        first=[Script()],
        unreachable=True,
        ends=_everywhere("second", [(0, 1)]),
        plain_end=End("second", [(0, 1)]),
    ),
    Scenario(
        name="connection-reset",
        first=[Script(refuse_connection=True)],
        ends=_everywhere("second", [(1, 1), (2, 1)]),
        plain_end=End("second", [(1, 1), (2, 1)]),
    ),
    Scenario(
        name="our-key-refused",
        first=[Script.error(401, "Incorrect API key provided")],
        ends=_everywhere("second", [(1, 1)]),
        plain_end=_SECOND,
    ),
    Scenario(
        name="invalid-request",
        first=[Script.error(400, "temperature is too high", param="temperature")],
        ends=_everywhere("refused", [(1, 0)], "first", status=400),
        plain_end=End("refused", [(1, 0)], "first", status=400),
    ),
    # One says nothing for too long.
    Scenario(
        name="silent",
        first=[Script(delay=_NEVER)],
        given_up=_FIRST_WORD,
        ends=_everywhere("second", [(1, 1)]),
        plain_end=_SECOND,
    ),
    Scenario(
        name="silent-behind-its-headers",
        first=[Script(first_byte_delay=_NEVER)],
        given_up=_FIRST_WORD,
        ends=_everywhere("second", [(1, 1)]),
        plain_end=_SECOND,
    ),
    Scenario(
        name="slow-first-token",
        first=[Script(first_byte_delay=6)],
        given_up=_FIRST_WORD,
        ends=_everywhere("second", [(1, 1)]),
        plain_end=_SECOND,
    ),
    Scenario(
        name="role-and-then-silence",
        first=[Script(stall_after=_ROLE)],
        given_up=_FIRST_WORD,
        ends=_everywhere("second", [(1, 1)]),
    ),
    Scenario(
        name="pings-alone",
        first=[Script(events=_PINGS, frame_delay=0.05)],
        given_up=_FIRST_WORD,
        ends=_everywhere("second", [(1, 1)]),
    ),
    Scenario(
        name="drips-for-ever",
        first=[Script(frame_delay=0.25)],
        plain=[Script(write=20, frame_delay=0.3)],
        settings={"timeout": 4},
        ends={"error": End("broken", [(1, 0)], "first")},
        plain_end=_SECOND,
        works_unseen=True,
        drips=True,
    ),
    Scenario(
        name="context-length-in-the-stream",
        first=[Script(events=[_CONTEXT_FRAME, DONE])],
        plain=[Script(body=_CONTEXT.body)],
        ends=_everywhere("second", [(1, 1)]),
        plain_end=_SECOND,
    ),
    # One breaks off in the middle of its answer.
    Scenario(
        name="cut",
        first=[Script(cut_after=_BROKEN_AT)],
        plain=[_HALF_A_BODY],
        ends=_BREAKS,
        plain_end=_SECOND,
        works_unseen=True,
    ),
    Scenario(
        name="closed-in-the-middle",
        first=[Script(close_after=_BROKEN_AT)],
        ends=_BREAKS,
        works_unseen=True,
    ),
    Scenario(
        name="reset-in-the-middle",
        first=[Script(reset_after=_BROKEN_AT)],
        plain=[Script(write=200, reset_after=1)],
        ends=_BREAKS,
        plain_end=_SECOND,
        works_unseen=True,
    ),
    Scenario(
        name="stall-in-the-middle",
        first=[Script(stall_after=_BROKEN_AT)],
        plain=[Script(write=200, stall_after=1)],
        given_up=_NEXT_WORD,
        ends=_BREAKS,
        plain_end=_SECOND,
        works_unseen=True,
    ),
    Scenario(
        name="cut-after-the-first-word",
        first=[Script(cut_after=_ROLE + 1)],
        ends=_BREAKS,
        works_unseen=True,
    ),
    Scenario(
        name="done-without-an-end",
        first=[Script(events=[*_frames("A")[:_BROKEN_AT], DONE])],
        ends=_BREAKS,
        works_unseen=True,
    ),
    Scenario(
        name="error-after-200",
        first=[Script(events=[_ERROR_FRAME, DONE])],
        plain=[Script(body={"error": {"message": "The model is overloaded.", "type": "server_error", "code": 503}})],
        ends=_everywhere("second", [(1, 1), (2, 1)]),
        plain_end=End("second", [(1, 1), (2, 1)]),
    ),
    Scenario(
        name="cut-while-it-thinks",
        first=[Script(events=_thinking("A")[:_BROKEN_AT])],
        ends={
            "error": End("broken", [(1, 0)], "first"),
            "restart": End("second", [(1, 1)]),
            "continue": End("second", [(1, 1)]),
        },
        works_unseen=True,
    ),
    Scenario(
        name="cut-with-two-choices",
        first=[Script(cut_after=2 * _BROKEN_AT)],
        ends={"error": End("broken", [(1, 0)], "first"), "restart": End("second", [(1, 1)])},
        more={"n": 2},
        works_unseen=True,
    ),
    Scenario(
        name="error-in-the-middle",
        first=[Script(events=[*_frames("A")[:_BROKEN_AT], _ERROR_FRAME, DONE])],
        ends=_BREAKS,
        works_unseen=True,
    ),
    Scenario(
        name="cut-and-the-other-refuses-prefill",
        first=[Script(cut_after=_BROKEN_AT)],
        second_takes_prefix=False,
        ends={"restart": End("second", [(1, 1)]), "continue": End("broken", [(1, 1), (1, 0)])},
        works_unseen=True,
    ),
    Scenario(
        name="both-cut",
        first=[Script(cut_after=_BROKEN_AT)],
        second=[Script(cut_after=_ROLE + 5)],
        ends={
            "error": End("broken", [(1, 0)], "first"),
            "restart": End("broken", [(1, 1)]),
            "continue": End("broken", [(1, 1)]),
        },
        works_unseen=True,
    ),
    Scenario(
        name="cut-and-the-other-is-down",
        first=[Script(cut_after=_BROKEN_AT)],
        second=[Script(status=503)],
        settings={"num_retries": 0},
        ends={"restart": End("broken", [(1, 1)]), "continue": End("broken", [(1, 1)])},
        works_unseen=True,
    ),
    Scenario(
        name="cut-inside-a-tool-call",
        first=[Script(cut_after=3)],
        tools=True,
        ends={
            "error": End("broken", [(1, 0)], "first"),
            "restart": End("tool", [(1, 1)]),
            "continue": End("tool", [(1, 1)]),
        },
        works_unseen=True,
    ),
    # One is whole, though it does not look it.
    Scenario(
        name="one-malformed-chunk",
        first=[Script(malformed_after=1 + SAID // 2)],
        plain=[Script(body=b'{"id": "chatcmpl-x", "object": "chat.completion", "choices": [{"index')],
        ends=_everywhere("first", [(1, 0)], "first"),
        plain_end=_SECOND,
    ),
    Scenario(
        name="two-malformed-chunks",
        first=[Script(events=[*_frames("A")[:_BROKEN_AT], _BROKEN_JSON, _BROKEN_JSON, *_frames("A")[_BROKEN_AT:]])],
        ends=_BREAKS,
        works_unseen=True,
    ),
    Scenario(
        name="no-done",
        first=[Script(cut_after=_COUNTED)],
        ends=_everywhere("first", [(1, 0)], "first"),
    ),
    Scenario(
        name="cut-after-finish",
        first=[Script(cut_after=_FINISHED)],
        ends=_everywhere("first", [(1, 0)], "first"),
        works_unseen=True,
    ),
    Scenario(
        name="reset-after-finish",
        first=[Script(reset_after=_FINISHED)],
        ends=_everywhere("first", [(1, 0)], "first"),
        works_unseen=True,
    ),
    Scenario(
        name="done-twice",
        first=[Script(events=[*_frames("A", counted=_usage(17, WORDS)), DONE, DONE])],
        ends=_everywhere("first", [(1, 0)], "first"),
    ),
    # What it comes to.
    Scenario(
        name="usage-of-a-break-is-told",
        first=[Script(events=_frames("A", counted={})[:_BROKEN_AT])],
        ends=_BREAKS,
    ),
    Scenario(
        name="usage-of-the-rescue-is-not-told",
        first=[Script(cut_after=_BROKEN_AT)],
        second=[Script(usage="off")],
        ends={"restart": End("second", [(1, 1)])},
        works_unseen=True,
    ),
    # Another model.
    Scenario(
        name="context-length",
        first=[_CONTEXT],
        ends=_everywhere("second", [(1, 1)]),
        plain_end=_SECOND,
    ),
    Scenario(
        name="context-length-fallback",
        first=[_CONTEXT],
        fallback="context_window_fallbacks",
        ends=_everywhere("second", [(1, 1)]),
        plain_end=_SECOND,
    ),
    Scenario(
        name="context-length-and-any-fallback",
        first=[_CONTEXT],
        fallback="fallbacks",
        ends=_everywhere("second", [(1, 1)]),
        plain_end=_SECOND,
    ),
    Scenario(
        name="each-is-the-others-fallback-and-both-are-down",
        first=[_OVERLOADED],
        second=[_OVERLOADED],
        fallback="fallbacks",
        ends={"error": End("refused", [(2, 2)], status=503)},
        plain_end=End("refused", [(2, 2)], status=503),
    ),
    Scenario(
        name="content-filter",
        first=[_FILTERED],
        ends=_everywhere("refused", [(1, 0)], "first", status=400, code="content_policy_violation"),
        plain_end=End("refused", [(1, 0)], "first", status=400, code="content_policy_violation"),
    ),
    Scenario(
        name="content-filter-fallback",
        first=[_FILTERED],
        fallback="content_policy_fallbacks",
        ends=_everywhere("second", [(1, 1)]),
        plain_end=_SECOND,
    ),
    Scenario(
        name="fallback-with-another-tokenizer",
        first=[Script(cut_after=_BROKEN_AT)],
        plain=[_OVERLOADED],
        second=[Script(usage_object=_usage(4711, 815))],
        fallback="fallbacks",
        ends={"error": End("broken", [(1, 0)], "first"), "restart": End("second", [(1, 1)])},
        plain_end=End("second", [(2, 1)]),
        works_unseen=True,
    ),
    Scenario(
        name="the-client-leaves-during-a-rescue",
        first=[Script(stall_after=_BROKEN_AT)],
        given_up=_NEXT_WORD,
        second=[Script(first_byte_delay=_NEVER)],
        ends={"restart": End("left", [(1, 1)]), "continue": End("left", [(1, 1)])},
        leaves=True,
        works_unseen=True,
    ),
)


@dataclass(frozen=True)
class Case:
    """A scenario in one form, with names of its own: of the model, of both deployments' models, of its requests."""

    scenario: Scenario
    form: Form
    on_break: Action
    end: End

    @property
    def name(self) -> str:
        return f"{self.scenario.name}.{self.form if self.form == 'plain' else self.on_break}"

    def model(self, which: str) -> str:
        return f"{self.name}.{which}"

    @property
    def alone(self) -> Mapping[str, str]:
        """The models that do the same with no other behind them, by deployment, where one works unseen."""
        if not self.scenario.works_unseen:
            return {}
        which = ["first"] if self.scenario.second == (Script(),) or self.scenario.leaves else ["first", "second"]
        return {each: f"{self.scenario.name}.{self.form}.{each}-alone" for each in which}

    def __str__(self) -> str:
        return self.name


def cases() -> list[Case]:
    found = []
    for scenario in SCENARIOS:
        forms: list[tuple[Form, Action]] = [("stream", action) for action in get_args(Action)]
        for form, on_break in [*forms, ("plain", "error")]:
            end = scenario.end(form, on_break)
            if end is not None:
                found.append(Case(scenario, form, on_break, replace(end, calls=tuple(end.calls))))
    return found
