"""Histories: what a client sends back of what other models have said, in the form that the one that is asked takes.

A conversation goes on with another model where its client chooses one, or one fails over to another. What the first
has said then stands in it as its provider writes it, and some refuse ids of calls in another form than their own. What
the gateway tells in the place of a signature, or seals for a client to keep, no provider knows. A request that has
nothing of the kind, as nearly every one, is not written anew.
"""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from crplugins.core.body import Body
from crplugins.core.dialects import CHAT, COMPACT, COUNT_TOKENS, MESSAGES, RESPONSES, Dialect
from crplugins.core.lenient_json import NOT_JSON, decode_with_halves, object_of, objects_of
from crplugins.handlers.protocols import IdForm

Fields = dict[str, Any]

UNSIGNED: Final = "unsigned:crplugins"
"""What stands for the signature of a thought that its provider has not signed.

Clients of Messages take one without a signature for broken off: pydantic-ai sends it back as words of the user, and the
AI SDK not at all. DeepSeek and Kimi want it back.
"""

SEALED: Final = "crplugins:"
"""How the thoughts begin that a client of Responses is given to send back, encrypted as it believes."""

THOUGHT_ID: Final = "rs_crplugins"
"""How the ids of thoughts begin that the gateway tells in Responses. OpenAI looks for those that it has not encrypted
among what it keeps, and refuses the whole request where one is not there."""


def fitted(body: Body, dialect: Dialect, ids: IdForm | None) -> Body:
    """The request as its upstream takes it, which is asked in `dialect`; the same object where nothing has to change.

    Who has a form of ids takes no thoughts of ours either.
    """
    fit = _FITS.get(dialect)
    return body if fit is None else fit(body, ids)


def _fitted_chat(body: Body, ids: IdForm | None) -> Body:
    raw = body.bytes_of("messages") if ids is not None and b'"tool_call_id"' in body.raw else None
    if raw is None or ids is None or all(map(ids.takes, _ids_in(raw))):
        return body
    messages = decode_with_halves(raw)
    for message in objects_of(messages):
        _rewrite(message, "tool_call_id", ids)
        for call in objects_of(message.get("tool_calls")):
            _rewrite(call, "id", ids)
    return _with(body, "messages", messages)


class _Call(msgspec.Struct):
    id: Any = None


class _Message(msgspec.Struct):
    tool_call_id: Any = None
    tool_calls: list[_Call] | None = None


_messages: Final = msgspec.json.Decoder(list[_Message])


def _ids_in(raw: bytes) -> Iterator[str]:
    """The ids of calls in messages; one that nobody takes where they cannot be read so."""
    try:
        messages = _messages.decode(raw)
    except NOT_JSON:
        yield ""
        return
    for message in messages:
        for each in (message.tool_call_id, *(call.id for call in message.tool_calls or ())):
            if isinstance(each, str):
                yield each


def _fitted_messages(body: Body, ids: IdForm | None) -> Body:
    raw = body.raw
    if ids is None or not (b'"tool_use' in raw or UNSIGNED.encode() in raw):
        return body
    messages = decode_with_halves(body.bytes_of("messages") or b"[]")
    changed = [_fit_message(message, ids) for message in objects_of(messages)]
    if not any(changed):
        return body
    said = [each for each in messages if not (isinstance(each, dict) and each.get("content") == [])]
    copy = _with(body, "messages", said)
    if _acts_without_thoughts(messages, changed) and object_of(body.get("thinking")).get("type") == "enabled":
        _stop_thinking(copy)
    return copy


def _fit_message(message: Fields, ids: IdForm) -> bool:
    """Whether anything was to be changed in it."""
    blocks = objects_of(message.get("content"))
    kept = [each for each in blocks if each.get("signature") != UNSIGNED]
    changed = len(kept) < len(blocks)
    if changed:
        message["content"] = kept
    for block in kept:
        name = {"tool_use": "id", "tool_result": "tool_use_id"}.get(str(block.get("type")))
        changed |= name is not None and _rewrite(block, name, ids)
    return changed


def _acts_without_thoughts(messages: Any, changed: list[bool]) -> bool:
    """Whether the turn of the model that goes on has been begun by another one. Claude thinks on only where its turn
    begins with a thought of its own."""
    turn = list[tuple[Fields, bool]]()
    for message, is_changed in zip(objects_of(messages), changed, strict=True):
        blocks = objects_of(message.get("content"))
        if message.get("role") == "user" and not any(block.get("type") == "tool_result" for block in blocks):
            turn.clear()
        elif message.get("role") == "assistant":
            turn.append((message, is_changed))
    kinds = {block.get("type") for message, _ in turn for block in objects_of(message.get("content"))}
    return any(is_changed for _, is_changed in turn) and kinds.isdisjoint(("thinking", "redacted_thinking"))


def _stop_thinking(body: Body) -> None:
    """The rest of a turn is answered without thoughts, and without what is said of them."""
    body.remove("thinking")
    managed = body.get("context_management")
    if isinstance(managed, dict) and isinstance(managed.get("edits"), list):
        edits = [each for each in managed["edits"] if "thinking" not in str(object_of(each).get("type"))]
        body.set("context_management", {**managed, "edits": edits})


def _fitted_items(body: Body, ids: IdForm | None) -> Body:
    """Of Responses. OpenAI is not told thoughts of ours, and others not what is sealed in them."""
    raw = body.raw
    if not (SEALED.encode() in raw or THOUGHT_ID.encode() in raw or (ids is not None and b'"call_id"' in raw)):
        return body
    given = body.bytes_of("input")
    items = decode_with_halves(given) if given is not None else None
    if not isinstance(items, list):
        return body
    changed, kept = False, list[Any]()
    for item in items:
        if _is_ours(item):
            changed = True
            if ids is None:
                kept.append({name: value for name, value in item.items() if name != "encrypted_content"})
            continue
        changed |= ids is not None and isinstance(item, dict) and _rewrite(item, "call_id", ids)
        kept.append(item)
    return _with(body, "input", kept) if changed else body


def _is_ours(item: Any) -> bool:
    """Whether an item is a thought that the gateway has told."""
    if not isinstance(item, dict) or item.get("type") != "reasoning":
        return False
    return str(item.get("encrypted_content")).startswith(SEALED) or str(item.get("id")).startswith(THOUGHT_ID)


def _rewrite(fields: Fields, name: str, ids: IdForm) -> bool:
    """Write the id under `name` as it is taken. Whether it was to be changed."""
    call_id = fields.get(name)
    if not isinstance(call_id, str) or ids.takes(call_id):
        return False
    fields[name] = ids.of(call_id)
    return True


def _with(body: Body, name: str, value: Any) -> Body:
    copy = body.copy()
    copy.set(name, value)
    return copy


_FITS: Final[Mapping[Dialect, Callable[[Body, IdForm | None], Body]]] = MappingProxyType({
    CHAT: _fitted_chat, MESSAGES: _fitted_messages, COUNT_TOKENS: _fitted_messages, RESPONSES: _fitted_items,
    COMPACT: _fitted_items,
})  # fmt: skip
