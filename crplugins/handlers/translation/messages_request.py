"""A request of Messages as a chat completion (Anthropic, "Create a Message"; OpenAI, "Create chat completion").

Members that are not named here stay behind: they say how Anthropic works, and not what is asked. What an answer would
be wrong without is refused. The table of what is lost stands on the page about handlers.
"""

from collections.abc import Iterator
from typing import Any, Final

from crplugins.core.lenient_json import encoded
from crplugins.handlers.spoken import Target
from crplugins.handlers.translation.translation import (
    Fields,
    chat_stream,
    effort_of_budget,
    invalid,
    merged,
    missing,
    not_translated,
    objects,
    text_in,
    without_none,
)

_CHOICES: Final = {"auto": "auto", "any": "required", "none": "none"}

_NEVER: Final = ("container", "mcp_servers")
"""What runs at Anthropic, and would be missed."""

_EFFORTS: Final = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}


def chat_request(asked: Fields, target: Target) -> Fields:
    """Raises `GatewayError` 400."""
    for name in _NEVER:
        if asked.get(name):
            raise not_translated(name, f"'{name}'")
    return without_none(
        {
            "model": asked.get("model"),
            "messages": [*_system(asked, target), *_messages(asked, target)],
            target.output_limit: asked.get("max_tokens"),
            **chat_stream(asked),
            **{name: asked.get(name) for name in ("temperature", "top_p")},
            "top_k": None if target.is_openai else asked.get("top_k"),
            "stop": asked.get("stop_sequences") or None,
            **_tools(asked, target),
            **_thinking(asked, target),
            "response_format": _format(asked),
            "user": _user(asked),
        }
    )


def _system(asked: Fields, target: Target) -> list[Fields]:
    system = asked.get("system")
    if not system:
        return []
    if isinstance(system, str):
        return [{"role": "system", "content": system}]
    parts = [_text(block, target) for block in objects(system, "system")]
    return [{"role": "system", "content": merged(parts)}]


def _messages(asked: Fields, target: Target) -> Iterator[Fields]:
    if "messages" not in asked:
        raise missing("messages")
    for number, message in enumerate(objects(asked.get("messages"), "messages")):
        param, content = f"messages[{number}].content", message.get("content")
        if message.get("role") == "assistant":
            yield _assistant(content, param, target)
        elif isinstance(content, str):
            yield {"role": text_in(message.get("role")) or "user", "content": content}
        else:
            yield from _user_messages(objects(content, param), param, target)


def _user_messages(blocks: list[Fields], param: str, target: Target) -> Iterator[Fields]:
    """Results of tools come first, as OpenAI wants them right behind the calls; their pictures follow with the rest."""
    parts: list[Fields] = []
    for number, block in enumerate(blocks):
        where = f"{param}[{number}]"
        if block.get("type") == "tool_result":
            content = block.get("content")
            inner = [{"type": "text", "text": content}] if isinstance(content, str) else objects(content, where)
            texts = [_text(each, target) for each in inner if each.get("type") == "text"]
            parts += [_part(each, where, target) for each in inner if each.get("type") != "text"]
            result = {"role": "tool", "tool_call_id": text_in(block.get("tool_use_id")), "content": _whole(texts)}
            yield {**result, **_mark(block, target)}
    parts = [
        *(_part(block, f"{param}[{number}]", target) for number, block in enumerate(blocks) if _is_said(block)),
        *parts,
    ]
    if parts:
        yield {"role": "user", "content": merged(parts)}


def _whole(texts: list[Fields]) -> Any:
    """The content of a tool's result, which some providers take as one text alone."""
    marked = any("cache_control" in text for text in texts)
    return texts if marked else "".join(text["text"] for text in texts)


def _is_said(block: Fields) -> bool:
    return block.get("type") != "tool_result"


def _part(block: Fields, param: str, target: Target) -> Fields:
    kind = block.get("type")
    if kind == "text":
        return _text(block, target)
    source = block.get("source")
    if kind == "image" and isinstance(source, dict):
        return {"type": "image_url", "image_url": {"url": _address(source, param)}, **_mark(block, target)}
    if kind == "document" and isinstance(source, dict):
        if source.get("type") == "text":
            return {"type": "text", "text": text_in(source.get("data")), **_mark(block, target)}
        if source.get("type") == "base64":
            name = text_in(block.get("title")) or "document.pdf"
            file = {"filename": name, "file_data": _address(source, param)}
            return {"type": "file", "file": file, **_mark(block, target)}
    raise not_translated(param, f"content of type '{text_in(kind)[:50]}'")


def _address(source: Fields, param: str) -> str:
    if source.get("type") == "url":
        return text_in(source.get("url"))
    if source.get("type") == "base64":
        return f"data:{text_in(source.get('media_type'))};base64,{text_in(source.get('data'))}"
    raise not_translated(param, f"a source of type '{text_in(source.get('type'))[:50]}'")


def _text(block: Fields, target: Target) -> Fields:
    return {"type": "text", "text": text_in(block.get("text")), **_mark(block, target)}


def _mark(block: Fields, target: Target) -> Fields:
    """The mark up to which Claude keeps a prompt in its cache."""
    mark = block.get("cache_control")
    return {"cache_control": mark} if target.is_claude and isinstance(mark, dict) else {}


def _assistant(content: Any, param: str, target: Target) -> Fields:
    if isinstance(content, str):
        return {"role": "assistant", "content": content}
    texts, calls, thoughts = list[Fields](), list[Fields](), list[Fields]()
    for number, block in enumerate(objects(content, param)):
        kind = block.get("type")
        if kind == "text":
            texts.append(_text(block, target))
        elif kind == "tool_use":
            arguments = encoded(block.get("input") or {}).decode()
            function = {"name": text_in(block.get("name")), "arguments": arguments}
            calls.append({"id": text_in(block.get("id")), "type": "function", "function": function})
        elif kind in ("thinking", "redacted_thinking"):
            thoughts.append(block)
        else:
            raise not_translated(f"{param}[{number}]", f"content of type '{text_in(kind)[:50]}'")
    said: Fields = {"role": "assistant", "content": merged(texts) if texts else None}
    if calls:
        said["tool_calls"] = calls
    return said | thoughts_back(thoughts, target)


def thoughts_back(thoughts: list[Fields], target: Target) -> Fields:
    """What a provider wants back of thoughts: Claude its signed blocks, others the text. OpenAI takes none."""
    signed = [each for each in thoughts if each.get("signature") or each.get("data")]
    if target.is_claude:
        return {"thinking_blocks": signed} if signed else {}
    text = "".join(text_in(each.get("thinking")) for each in thoughts)
    return {"reasoning_content": text} if text and not target.is_openai else {}


def _tools(asked: Fields, target: Target) -> Fields:
    """Tools of the client. Those that run at Anthropic stay behind, unless the model must call one."""
    tools, wanted = list[Fields](), asked.get("tool_choice")
    wanted = wanted if isinstance(wanted, dict) else {}
    for number, tool in enumerate(objects(asked.get("tools"), "tools")):
        if tool.get("type") in (None, "custom"):
            if not isinstance(tool.get("input_schema"), dict):
                raise invalid(f"tools[{number}].input_schema", "an object")
            function = {"name": tool.get("name"), "description": tool.get("description")}
            function |= {"parameters": tool["input_schema"], "strict": tool.get("strict")}
            known = {key: value for key, value in function.items() if value is not None}
            tools.append({"type": "function", "function": known, **_mark(tool, target)})
        elif wanted.get("type") == "tool" and wanted.get("name") == tool.get("name"):
            raise not_translated("tool_choice", f"the tool '{text_in(tool.get('type'))[:50]}'")
    if not tools:
        return {}
    choice: Any = _CHOICES.get(text_in(wanted.get("type")))
    if wanted.get("type") == "tool":
        choice = {"type": "function", "function": {"name": text_in(wanted.get("name"))}}
    alone = wanted.get("disable_parallel_tool_use") is True
    return {"tools": tools, "tool_choice": choice, "parallel_tool_calls": False if alone else None}


def _thinking(asked: Fields, target: Target) -> Fields:
    """How much the model is to think, for one that can be told."""
    thinking, config = asked.get("thinking"), asked.get("output_config")
    thinking = thinking if isinstance(thinking, dict) else {}
    if target.is_claude:
        return {"thinking": thinking or None}
    if not target.reasons:
        return {}
    effort = _EFFORTS.get(text_in(config.get("effort"))) if isinstance(config, dict) else None
    if effort is None and thinking.get("type") == "enabled":
        effort = effort_of_budget(thinking.get("budget_tokens"))
    return {"reasoning_effort": effort}


def _format(asked: Fields) -> Fields | None:
    """The schema of the answer, where a request gives one."""
    config = asked.get("output_config")
    wanted = asked.get("output_format") or (config.get("format") if isinstance(config, dict) else None)
    if not isinstance(wanted, dict) or wanted.get("type") != "json_schema":
        return None
    schema = {"name": "answer", "schema": wanted.get("schema"), "strict": True}
    return {"type": "json_schema", "json_schema": schema}


def _user(asked: Fields) -> str | None:
    metadata = asked.get("metadata")
    return (text_in(metadata.get("user_id")) or None) if isinstance(metadata, dict) else None
