"""Finds out whether a model can be asked through litellm's configuration of its provider alone.

Once a provider has answered for a model, both paths are tried a few times without a network: `acompletion`, whose
requests are caught in its transport, and `ConfiguredModel`. What `acompletion` adds to every request alike is learnt
from its first two, a plain one and a streamed one. Where the others are then the same, URL, headers and JSON, later
requests of the same kind take the fast path; a request of any other kind takes `acompletion`.
"""

import copy
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from crplugins.core.body import Body
from crplugins.handlers.litellm.configs import Additions, ConfiguredModel
from crplugins.handlers.litellm.plain import catching
from crplugins.handlers.litellm.request import Arguments, messages_of
from crplugins.handlers.litellm.trial import UnchangedTrial
from crplugins.handlers.litellm.unchanged import are_texts

Ask = Callable[[list[Any], Arguments, bool], Awaitable[Any]]
"""`acompletion` with messages, arguments and whether to stream."""

_OF_THE_CLIENT: Final = frozenset(
    {"accept", "accept-encoding", "connection", "content-length", "content-type", "host", "user-agent"}
)
_OF_THE_SDK: Final = "x-stainless-"
_CREDENTIALS: Final = ("authorization", "cookie", "key", "token")

_HELLO: Final = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "hi"}]
_TOOL: Final[dict[str, Any]] = {
    "type": "function",
    "function": {
        "name": "find",
        "description": "Finds it.",
        "parameters": {"type": "object", "properties": {"it": {"type": "string"}}, "required": ["it"]},
    },
}
_CALL: Final = {"id": "call_1", "type": "function", "function": {"name": "find", "arguments": '{"it":"x"}'}}
_TALK: Final = [
    *_HELLO,
    {"role": "assistant", "content": None, "tool_calls": [_CALL]},
    {"role": "tool", "tool_call_id": "call_1", "content": "here"},
]
_PICTURE: Final = {
    "type": "image_url",
    "image_url": {
        "url": "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
        "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    },
}
_SCHEMA: Final = {
    "type": "json_schema",
    "json_schema": {
        "name": "it",
        "strict": True,
        "schema": {"type": "object", "properties": {"it": {"type": "string"}}},
    },
}
_STREAM: Final = {"stream": True, "stream_options": {"include_usage": True}}
_TOOLS: Final = "tools"
_PICTURES: Final = "pictures"

_SIMPLE: Final[Mapping[str, tuple[Any, Any]]] = {
    "temperature": (0, 1.25),
    "top_p": (0.5, 1),
    "max_tokens": (7, 4000),
    "stop": ("end", ["a", "b"]),
    "seed": (0, 7),
    "presence_penalty": (0, 0.5),
    "frequency_penalty": (0, 0.5),
    "n": (1, 2),
    "user": ("u-1", "someone@example.com"),
}
_COMPOSED: Final[Mapping[str, tuple[dict[str, Any], dict[str, Any]]]] = {
    "max_completion_tokens": ({"max_completion_tokens": 7}, {"max_completion_tokens": 4000}),
    "response_format": ({"response_format": {"type": "json_object"}}, {"response_format": _SCHEMA}),
    "extra_body": ({"top_k": 3}, {"repetition_penalty": 1.1}),
    _TOOLS: ({"messages": _TALK, "tools": [_TOOL]}, {"messages": [*_TALK, *_HELLO[1:]], "tools": [_TOOL, _TOOL]}),
    "tool_choice": ({"tool_choice": "auto", "tools": [_TOOL]}, {"tool_choice": "required", "tools": [_TOOL]}),
    "parallel_tool_calls": (
        {"parallel_tool_calls": True, "tools": [_TOOL]},
        {"parallel_tool_calls": False, "tools": [_TOOL]},
    ),
    _PICTURES: (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "look"}, _PICTURE]}]},
        {"messages": [{"role": "user", "content": [_PICTURE]}]},
    ),
}
"""By what a request of this kind has: the members of two such requests."""

HARMLESS: Final = frozenset(
    {
        *_SIMPLE,
        "max_completion_tokens",
        "api_version",
        "drop_params",
        "extra_body",
        "extra_headers",
        "max_retries",
        "organization",
        "rpm",
        "ssl_verify",
        "tpm",
    }
)
"""What a deployment may set, in `litellm_params`, and still be asked without `acompletion`: not what sends litellm
elsewhere, or makes it rewrite messages."""


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """The kinds of requests that are the same on both paths."""

    kinds: frozenset[str]
    always: frozenset[str]

    def allows(self, messages: list[Any], arguments: Mapping[str, Any], *, texts: bool) -> bool:
        """Whether a request has nothing that was not tried. `texts`: whether its messages `are_texts`."""
        if not arguments.keys() - self.kinds <= self.always:
            return False
        tools = arguments.get("tools")
        if tools and not (isinstance(tools, list) and all(map(_is_function, tools))):
            return False
        return texts or all(self._is_ordinary(message) for message in messages)

    def _is_ordinary(self, message: Mapping[str, Any]) -> bool:
        role = message.get("role")
        extra = _MEMBERS.get(role) if isinstance(role, str) else None
        if extra is None:
            return False
        for name in message:
            if name not in ("role", "content") and (name != extra or _TOOLS not in self.kinds):
                return False
        content = message.get("content")
        if isinstance(content, str):
            return True
        if not isinstance(content, list):
            return content is None and extra == "tool_calls"
        return all(_is_text(part) or (_PICTURES in self.kinds and _is_picture(part)) for part in content)


_MEMBERS: Final = {"system": "", "user": "", "assistant": "tool_calls", "tool": "tool_call_id"}
_FUNCTION: Final = frozenset({"name", "description", "parameters", "strict"})


def _is_function(tool: Any) -> bool:
    if not isinstance(tool, dict) or tool.keys() != {"type", "function"} or tool["type"] != "function":
        return False
    return isinstance(tool["function"], dict) and tool["function"].keys() <= _FUNCTION


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and part.keys() == {"type", "text"} and part["type"] == "text"


def _is_picture(part: Any) -> bool:
    """One that is sent along: for some providers litellm would fetch another from wherever the client says."""
    if not isinstance(part, dict) or part.keys() != {"type", "image_url"}:
        return False
    url = part["image_url"].get("url") if isinstance(part["image_url"], dict) else None
    return isinstance(url, str) and url.startswith("data:image/") and part["image_url"].keys() <= {"url", "detail"}


@dataclass(frozen=True, slots=True)
class _Sent:
    """A request without what each HTTP client adds of its own."""

    url: str
    headers: dict[str, str]
    data: dict[str, Any]


async def rehearse(
    model: ConfiguredModel, arguments_of: Callable[[Body], Arguments], takes: Callable[[str], bool], ask: Ask
) -> Rehearsed | None:
    """The kinds that are the same, of those that the model takes; None if not even the plainest request is.

    Sets the model's `additions`.
    """
    walked = _Walked(model, arguments_of, ask)
    for body in ({}, _STREAM):
        if not await walked.learn(body):
            return None
    simple = [name for name in _SIMPLE if takes(name)]
    kinds = set(simple if await walked.are_same(_together(simple)) else [])
    for name in () if kinds else simple:
        if await walked.are_same(_together([name])):
            kinds.add(name)
    for kind, variants in _COMPOSED.items():
        if (takes(kind) or kind in (_PICTURES, "extra_body")) and await walked.are_same(variants):
            kinds.add(kind)
    if _TOOLS not in kinds:
        kinds -= {"tool_choice", "parallel_tool_calls"}
    await UnchangedTrial(model, lambda: arguments_of(_body({}))).run()
    return Rehearsed(frozenset(kinds), frozenset(walked.always))


def _together(names: list[str]) -> tuple[dict[str, Any], ...]:
    return tuple({name: _SIMPLE[name][number] for name in names} for number in range(2))


class _Walked:
    def __init__(self, model: ConfiguredModel, arguments_of: Callable[[Body], Arguments], ask: Ask) -> None:
        self._model, self._arguments_of, self._ask = model, arguments_of, ask
        self.always: set[str] = set()

    async def learn(self, body: Mapping[str, Any]) -> bool:
        """Learns what `acompletion` adds. False if the requests cannot be made, or hold a credential that changes."""
        stream = bool(body)
        theirs = await self._theirs(body)
        if theirs is None:
            return False
        with suppress(Exception):
            ours = self._ours(body)
            headers = {name: value for name, value in theirs.headers.items() if ours.headers.get(name) != value}
            members = {name: value for name, value in theirs.data.items() if name not in ours.data}
            self._model.additions[stream] = Additions(
                theirs.url, headers, members, frozenset(ours.data.keys() - theirs.data.keys())
            )
            self.always.update(self._arguments_of(_body(body)).keys() - {"stream"})
            return self._ours(body) == theirs and not any(map(self._is_foreign, headers.items()))
        return False

    async def are_same(self, variants: tuple[dict[str, Any], ...]) -> bool:
        for number, variant in enumerate(variants):
            body = {**variant, **(_STREAM if number else {})}
            theirs = await self._theirs(body)
            try:
                if theirs is None or self._ours(body) != theirs:
                    return False
            except Exception:  # whatever a configuration makes of it, the request takes the slow path
                return False
        return True

    def _is_foreign(self, header: tuple[str, str]) -> bool:
        """A credential other than the deployment's key, such as a token that will expire."""
        name, value = header
        return any(word in name for word in _CREDENTIALS) and not (self._model.key and self._model.key in value)

    async def _theirs(self, body: Mapping[str, Any]) -> _Sent | None:
        """What `acompletion` sends; None if that is not one POST of JSON."""
        messages, arguments, stream = self._prepared(body)
        with catching() as requests, suppress(Exception):  # it fails on the answer of the transport, at the latest
            await self._ask(messages, arguments, stream)
        if len(requests) != 1 or requests[0].method != "POST":
            return None
        self._model.uses_sdk = any(name.startswith(_OF_THE_SDK) for name in requests[0].headers)
        try:
            return _sent(str(requests[0].url), requests[0].headers, json.loads(await requests[0].aread()))
        except (AttributeError, TypeError, ValueError):
            return None

    def _ours(self, body: Mapping[str, Any]) -> _Sent:
        messages, arguments, stream = self._prepared(body)
        request = self._model.request(messages, arguments, stream=stream, texts=are_texts(messages))
        headers = {**request.headers, **request.own}
        return _sent(request.url, headers, json.loads(msgspec.json.encode(request.data)))

    def _prepared(self, body: Mapping[str, Any]) -> tuple[list[Any], Arguments, bool]:
        sent = _body(body)
        arguments = self._arguments_of(sent)
        return copy.deepcopy(messages_of(sent)), arguments, bool(arguments.pop("stream", False))


def _body(members: Mapping[str, Any]) -> Body:
    return Body(msgspec.json.encode({"model": "rehearsal", "messages": _HELLO, **members}))


def _sent(url: str, headers: Mapping[str, Any], data: Any) -> _Sent:
    if not isinstance(data, dict):
        raise TypeError("no JSON object")
    return _Sent(url, dict(_of_the_provider(headers)), data)


def _of_the_provider(headers: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in headers.items():
        lowered = str(name).lower()
        if lowered not in _OF_THE_CLIENT and not lowered.startswith(_OF_THE_SDK):
            yield lowered, str(value)
