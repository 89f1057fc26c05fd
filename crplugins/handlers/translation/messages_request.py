"""A request of Messages as a chat completion (Anthropic, "Create a Message"; OpenAI, "Create chat completion").

Members that are not named here stay behind: they say how Anthropic works, and not what is asked. What an answer would
be wrong without is refused. The table of what is lost stands on the page about handlers.
"""

from hashlib import sha256
from typing import Any, Final

from crplugins.core.errors import GatewayError
from crplugins.core.lenient_json import encoded, object_of, objects_of
from crplugins.handlers.protocols import Target
from crplugins.handlers.translation.conversation import Conversation
from crplugins.handlers.translation.messages_tools import CHANGES, MessagesTools, mark_of
from crplugins.handlers.translation.tool_names import ToolNames
from crplugins.handlers.translation.translation import (
    Fields,
    chat_stream,
    effort_of_budget,
    missing,
    not_translated,
    objects,
    text_in,
    without_none,
)

_NEVER: Final = ("compaction", "container", "mcp_servers", "thread")
"""What runs or is kept at Anthropic, and would be missed."""

_EFFORTS: Final = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}


def chat_request(asked: Fields, target: Target) -> Fields:
    """Raises `GatewayError` 400."""
    for name in _NEVER:
        if asked.get(name):
            raise not_translated(name, f"'{name}'")
    tools = MessagesTools(asked)
    return without_none(
        {
            "model": asked.get("model"),
            "messages": _conversation(asked, target, tools.names),
            target.output_limit: asked.get("max_tokens"),
            **chat_stream(asked),
            **{name: asked.get(name) for name in ("temperature", "top_p")},
            "top_k": None if target.is_openai else asked.get("top_k"),
            "stop": asked.get("stop_sequences") or None,
            **tools.chosen(object_of(asked.get("tool_choice")), target),
            **_thinking(asked, target),
            "response_format": _format(asked),
            "user": _user(asked),
        }
    )


def _conversation(asked: Fields, target: Target, names: ToolNames) -> list[Fields]:
    if "messages" not in asked:
        raise missing("messages")
    said = Conversation(target)
    said.system(_words(asked.get("system") or [], "system", target))
    for number, message in enumerate(objects(asked.get("messages"), "messages")):
        param, content = f"messages[{number}].content", message.get("content")
        if message.get("role") == "assistant":
            _answer(said, content, param, target, names)
        elif message.get("role") == "system":
            said.system(_words(content, param, target))
        else:
            _turn(said, _blocks(content, param), param, target, names)
    return said.messages()


def _blocks(content: Any, param: str) -> list[Fields]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else objects(content, param)


_OF_CLAUDE_CODE: Final = "x-anthropic-billing-header:"


def _words(content: Any, param: str, target: Target) -> list[Fields]:
    """What a system says, which is text.

    Claude Code begins it with a line for Anthropic alone. It is another one in each request, so that no provider finds
    anything after it in its cache.
    """
    words = list[Fields]()
    said = [(f"{param}[{number}]", block) for number, block in enumerate(_blocks(content, param))]
    for each in (_said(block, where, target) for where, block in said if block.get("type") not in CHANGES):
        if each["text"].startswith(_OF_CLAUDE_CODE):
            _, _, rest = each["text"].partition("\n")
            words += [{**each, "text": rest}] if rest else []
        else:
            words.append(each)
    return words


def _said(block: Fields, param: str, target: Target) -> Fields:
    if block.get("type", "text") != "text":
        raise not_translated(param, f"content of type '{text_in(block.get('type'))[:50]}'")
    return _text(block, target)


def _turn(said: Conversation, blocks: list[Fields], param: str, target: Target, names: ToolNames) -> None:
    """The results of tools, each a message, and what else the user says, with the pictures of the results after it."""
    parts, shown = list[Fields](), list[Fields]()
    for number, block in enumerate(blocks):
        where = f"{param}[{number}]"
        if block.get("type") != "tool_result":
            parts.append(_part(block, where, target))
            continue
        inner = _blocks(block.get("content"), where)
        call_id = text_in(block.get("tool_use_id"))
        if not said.has_called(call_id):
            raise GatewayError(
                400,
                f"{where}: unexpected `tool_use_id` found in `tool_result` blocks: {call_id[:100]}. Each `tool_result` "
                "block must have a corresponding `tool_use` block in the previous message.",
                param=where,
            )
        texts = [_word(each, target, names) for each in inner if each.get("type") in _IN_WORDS]
        shown += [_part(each, where, target) for each in inner if each.get("type") not in _IN_WORDS]
        result = {"role": "tool", "tool_call_id": call_id, "content": _whole(texts)}
        said.result({**result, **mark_of(block, target)})
    said.user([*parts, *shown])


_IN_WORDS: Final = ("text", "tool_reference", "search_result")


def _word(block: Fields, target: Target, names: ToolNames) -> Fields:
    """A text of a tool's result. What Claude Code's search for tools has found is named: it is offered without it.

    What another search has found is its title, its source and its texts; nobody else cites it.
    """
    if block.get("type") == "tool_reference":
        return {"type": "text", "text": f"The tool {names.shown(text_in(block.get('tool_name')))} can be called.\n"}
    if block.get("type") == "search_result":
        texts = [each.get("text") for each in objects_of(block.get("content"))]
        text = "\n".join(filter(None, map(text_in, (block.get("title"), block.get("source"), *texts))))
        return {"type": "text", "text": f"{text}\n\n", **mark_of(block, target)}
    return _text(block, target)


def _whole(texts: list[Fields]) -> Any:
    """The content of a tool's result, which some providers take as one text alone."""
    marked = any("cache_control" in text for text in texts)
    return texts if marked else "".join(text["text"] for text in texts)


def _part(block: Fields, param: str, target: Target) -> Fields:
    kind = block.get("type")
    if kind == "text":
        return _text(block, target)
    source = block.get("source")
    if kind == "image" and isinstance(source, dict):
        return {"type": "image_url", "image_url": {"url": _address(source, param)}, **mark_of(block, target)}
    if kind == "document" and isinstance(source, dict):
        if source.get("type") == "text":
            return {"type": "text", "text": text_in(source.get("data")), **mark_of(block, target)}
        if source.get("type") == "base64":
            name = text_in(block.get("title")) or "document.pdf"
            file = {"filename": name, "file_data": _address(source, param)}
            return {"type": "file", "file": file, **mark_of(block, target)}
    raise not_translated(param, f"content of type '{text_in(kind)[:50]}'")


def _address(source: Fields, param: str) -> str:
    if source.get("type") == "url":
        return text_in(source.get("url"))
    if source.get("type") == "base64":
        return f"data:{text_in(source.get('media_type'))};base64,{text_in(source.get('data'))}"
    raise not_translated(param, f"a source of type '{text_in(source.get('type'))[:50]}'")


def _text(block: Fields, target: Target) -> Fields:
    return {"type": "text", "text": text_in(block.get("text")), **mark_of(block, target)}


_REMARKS: Final = frozenset({
    "server_tool_use", "web_search_tool_result", "web_fetch_tool_result", "code_execution_tool_result",
    "bash_code_execution_tool_result", "text_editor_code_execution_tool_result", "tool_search_tool_result",
    "mcp_tool_use", "mcp_tool_result", "advisor_tool_result",
})  # fmt: skip
"""What tools at Anthropic have done in earlier turns: the answer that they led to stands after them."""


def _answer(said: Conversation, content: Any, param: str, target: Target, names: ToolNames) -> None:
    for number, block in enumerate(_blocks(content, param)):
        kind = block.get("type")
        if kind == "text":
            said.answer(parts=[_text(block, target)])
        elif kind == "tool_use":
            arguments = encoded(block.get("input") or {}).decode()
            function = {"name": names.shown(text_in(block.get("name"))), "arguments": arguments}
            said.answer(calls=[{"id": text_in(block.get("id")), "type": "function", "function": function}])
        elif kind in ("thinking", "redacted_thinking"):
            said.answer(thoughts=[block])
        elif kind not in _REMARKS:
            raise not_translated(f"{param}[{number}]", f"content of type '{text_in(kind)[:50]}'")


def _thinking(asked: Fields, target: Target) -> Fields:
    """How much the model is to think, for one that can be told."""
    thinking, wanted = object_of(asked.get("thinking")), object_of(asked.get("output_config")).get("effort")
    if target.is_claude:
        return {"thinking": thinking or None, "output_config": {"effort": wanted} if wanted else None}
    if not target.reasons:
        return {}
    effort = _EFFORTS.get(text_in(wanted))
    if effort is None and thinking.get("type") == "enabled":
        effort = effort_of_budget(thinking.get("budget_tokens"))
    return {"reasoning_effort": effort}


def _format(asked: Fields) -> Fields | None:
    """The schema of the answer, where a request gives one."""
    wanted = asked.get("output_format") or object_of(asked.get("output_config")).get("format")
    if not isinstance(wanted, dict) or wanted.get("type") != "json_schema":
        return None
    schema = {"name": "answer", "schema": wanted.get("schema"), "strict": True}
    return {"type": "json_schema", "json_schema": schema}


_LONGEST_USER: Final = 64


def _user(asked: Fields) -> str | None:
    """Who asks. Anthropic allows a name of 256 characters, and Claude Code's has 150; OpenAI allows 64."""
    user = text_in(object_of(asked.get("metadata")).get("user_id"))
    return (user if len(user) <= _LONGEST_USER else sha256(encoded(user)).hexdigest()) or None
