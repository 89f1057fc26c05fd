"""What the items of a response say: text, thoughts, calls of tools, speech, pictures.

One reading for an item that is whole and for the pieces of one in a stream, so that both weigh the same.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec

from crplugins.core.delta import Delta


class Told(NamedTuple):
    """What the pieces of one kind of event tell.

    Attributes:
        what: the word of `piece` for it.
        apart: the member that counts pieces of one item apart; "" for items that have one alone.
        whole: the member of the `.done` event that repeats all of it; "" for one that repeats nothing.
    """

    what: str
    apart: str = ""
    whole: str = ""


DELTAS: Final = {
    "response.output_text": Told("text", "content_index", "text"),
    "response.refusal": Told("refusal", "content_index", "refusal"),
    "response.reasoning_text": Told("thought", "content_index", "text"),
    "response.reasoning_summary_text": Told("thought", "summary_index", "text"),
    "response.reasoning": Told("thought", "content_index", "text"),  # names of 2025, which some servers keep
    "response.reasoning_summary": Told("thought", "summary_index", "text"),
    "response.function_call_arguments": Told("arguments", "", "arguments"),
    "response.mcp_call_arguments": Told("arguments", "", "arguments"),
    "response.mcp_call.arguments": Told("arguments", "", "arguments"),
    "response.custom_tool_call_input": Told("arguments", "", "input"),
    "response.code_interpreter_call_code": Told("arguments", "", "code"),
    "response.code_interpreter_call.code": Told("arguments", "", "code"),
    "response.shell_call_command": Told("arguments", "command_index", "command"),
    "response.apply_patch_call_operation_diff": Told("arguments", "", "diff"),
    "response.audio": Told("speech"),
    "response.audio.transcript": Told("transcript"),
}
"""By the name of an event without its `.delta` or `.done`. Any other piece that is a text is text of the answer, but
for what a tool has put out (`response.shell_call_output_content`), which is an object."""

_CALL: Final = "_call"
_REQUEST: Final = "mcp_approval_request"
_BY_ITS_CLIENT: Final = frozenset({"function_call", "custom_tool_call", _REQUEST})
"""Calls after which the client goes on, or a person does."""

_ARGUMENTS: Final = ("arguments", "input", "code", "action", "operation", "queries")
"""Where a call says what it asks for: a text, or an object of a tool that OpenAI knows."""


def piece(what: str, value: Any, index: int) -> Delta:
    """A piece of the item `index`."""
    if what == "text":
        return Delta(content=value)
    if what == "refusal":
        return Delta(refusal=value)
    if what == "thought":
        return Delta(reasoning=value)
    if what == "speech":
        return Delta(audio={"data": value})
    if what == "transcript":
        return Delta(audio={"transcript": value})
    return call(index, arguments=value)


def call(index: int, name: object = None, arguments: object = None) -> Delta:
    """A piece of the call of a tool."""
    return Delta(tool_calls=[{"index": index, "function": {"name": name, "arguments": arguments}}])


def is_call(item: dict[str, Any]) -> bool:
    """Whether the model calls a tool by it: its own, the client's or one that its provider runs."""
    kind = item.get("type")
    return isinstance(kind, str) and (kind.endswith(_CALL) or kind == _REQUEST)


def calls_its_client(item: dict[str, Any]) -> bool:
    """Whether the answer waits for a tool that its client runs.

    A shell, a computer or a patch is the client's where the item waits for an output with the same `call_id`.
    """
    kind = item.get("type")
    return kind in _BY_ITS_CLIENT or (is_call(item) and isinstance(item.get("call_id"), str) and not _is_hosted(item))


def _is_hosted(item: dict[str, Any]) -> bool:
    where = item.get("environment")
    return isinstance(where, dict) and str(where.get("type", "")).startswith("container")


def name_of(item: dict[str, Any]) -> str:
    """The tool that a call names: a function, or what OpenAI calls its own (`web_search`)."""
    name = item.get("name")
    return name if isinstance(name, str) and name else str(item.get("type", "")).removesuffix(_CALL)


def searches(item: dict[str, Any]) -> int:
    """How many searches of the web that are paid for an item is.

    OpenAI charges for what searches, and not for opening a page or looking for a text in it. One that failed is free.
    """
    if item.get("type") != "web_search_call" or item.get("status") == "failed":
        return 0
    action = item.get("action")
    kind = action.get("type") if isinstance(action, dict) else None
    return 1 if kind in (None, "search") else 0


def search_context_size(tools: Any) -> str | None:
    """How much of the web its search takes in, on which its fee may depend, as a response repeats its tools."""
    for tool in tools if isinstance(tools, list) else ():
        if isinstance(tool, dict) and str(tool.get("type", "")).startswith("web_search"):
            size = tool.get("search_context_size")
            return size if isinstance(size, str) else None
    return None


def said_in(item: dict[str, Any], index: int) -> Iterator[Delta]:
    """What a whole item says."""
    kind = item.get("type")
    if kind == "message":
        yield Delta(content=item.get("content"))
    elif kind == "reasoning":  # its summary is made of its content, which few providers show
        yield Delta(reasoning=item.get("content") or item.get("summary"))
    elif kind == "image_generation_call":
        yield call(index, name_of(item))
        if item.get("result"):
            yield Delta(images=[None])
    elif is_call(item):
        told = next((item[name] for name in _ARGUMENTS if item.get(name)), None)
        yield call(index, name_of(item), told if told is None or isinstance(told, str) else _text_of(told))


def _text_of(value: Any) -> str:
    """The texts in what a call asks for, without the JSON around them: a diff, commands, queries."""
    texts, queue = list[str](), [value]
    for each in queue:
        if isinstance(each, str):
            texts.append(each)
        elif isinstance(each, list):
            queue += each
        elif isinstance(each, dict):
            queue += each.values()
        if len(queue) > _MOST_TEXTS:
            return msgspec.json.encode(value).decode()
    return "\n".join(texts)


_MOST_TEXTS: Final = 1000
