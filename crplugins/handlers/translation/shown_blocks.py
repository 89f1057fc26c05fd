"""ShownBlocks: what a stream in another protocol than chat completions has shown, for whoever goes on with it.

It reads the events as they are sent, whoever has written them: a provider that speaks the protocol, or our
translation. It knows what no model that chats can go on from: a call of a tool, an item that nobody here knows, an
event that is out of order.
"""

from typing import Any, Final

import msgspec

from crplugins.core.lenient_json import NOT_JSON, decode_with_halves, object_of
from crplugins.handlers.translation.blocks import Block, Kind
from crplugins.handlers.translation.translation import Fields, number, text_in


class ShownBlocks:
    """One answer.

    Attributes:
        blocks: what has begun, in its order.
        can_be_continued: nothing has been shown but text and thoughts.
        size: how many characters of text.
    """

    def __init__(self) -> None:
        self.blocks: Final[list[Block]] = []
        self.can_be_continued = True
        self.size = 0

    @property
    def text(self) -> str:
        """Without thoughts."""
        return "".join([block.text for block in self.blocks if block.kind == "text"])

    @property
    def can_follow(self) -> bool:
        """Whether text can follow at this moment. Not in the middle of a thought: without its end, which its provider
        signs, no client can send it back."""
        last = self.open
        return last is None or last.kind != "thinking"

    @property
    def open(self) -> Block | None:
        """The block that has begun and not ended."""
        return self.blocks[-1] if self.blocks and not self.blocks[-1].stopped else None

    def add(self, data: bytes) -> None:
        """The data of an event."""
        try:
            fields = decode_with_halves(data)
        except NOT_JSON:
            fields = None
        if not isinstance(fields, dict) or not self._add(text_in(fields.get("type")), fields):
            self.can_be_continued = False

    def is_call(self, data: bytes) -> bool:
        """Whether an event begins a call of a tool of the client's."""
        raise NotImplementedError

    def _add(self, kind: str, fields: Fields) -> bool:
        """False for an event after which nobody can go on."""
        raise NotImplementedError

    def _begin(self, kind: Kind | None, place: Any) -> bool:
        if kind is None or place != len(self.blocks) or self.open is not None:
            return False
        self.blocks.append(Block(kind, len(self.blocks)))
        return True

    def _say(self, kind: Kind, text: Any, place: Any) -> bool:
        last = self.open
        if last is None or last.kind != kind or place != last.number:
            return False
        if kind == "text":
            last.pieces.append(text_in(text))
            self.size += len(text_in(text))
        return True

    def _stop(self, place: Any) -> bool:
        last = self.open
        if last is None or place != last.number:
            return False
        last.stopped = True
        return True


class _Block(msgspec.Struct):
    type: str | None = None


class _Begun(msgspec.Struct):
    type: str | None = None
    content_block: _Block | None = None
    item: _Block | None = None


_begun: Final = msgspec.json.Decoder(_Begun)


def _begun_in(data: bytes) -> _Begun | None:
    try:
        return _begun.decode(data)
    except NOT_JSON:
        return None


_BLOCKS: Final[dict[str, Kind]] = {"text": "text", "thinking": "thinking", "redacted_thinking": "thinking"}
_CITED: Final = frozenset({"citations_delta", "signature_delta"})


class ShownMessage(ShownBlocks):
    """In Messages."""

    def is_call(self, data: bytes) -> bool:
        begun = _begun_in(data)
        return begun is not None and begun.content_block is not None and begun.content_block.type == "tool_use"

    def _add(self, kind: str, fields: Fields) -> bool:
        place = fields.get("index", 0)
        if kind == "content_block_delta":
            delta = object_of(fields.get("delta"))
            told = delta.get("type")
            if told == "text_delta":
                return self._say("text", delta.get("text"), place)
            if told == "thinking_delta":
                return self._say("thinking", "", place)
            return told in _CITED
        if kind == "content_block_start":
            block = object_of(fields.get("content_block"))
            found = _BLOCKS.get(text_in(block.get("type")))
            return self._begin(found, place) and (found != "text" or self._say("text", block.get("text"), place))
        if kind == "content_block_stop":
            return self._stop(place)
        return kind in ("message_start", "ping")


_HEADS: Final = frozenset({"response.created", "response.queued", "response.in_progress"})
_TEXT_IS_WHOLE: Final = frozenset({"response.output_text.done", "response.content_part.done"})
_THOUGHTS: Final = "response.reasoning"
_NO_WORDS: Final = frozenset({"keepalive", "ping"})


class ShownResponse(ShownBlocks):
    """In Responses.

    Attributes:
        head: the response, as far as it has come.
        next_number: that of the event which follows.
        items: those that are whole, by their place; `ids` are those of all.
    """

    def __init__(self) -> None:
        super().__init__()
        self.head: Fields = {}
        self.next_number = 0
        self.items: Final[dict[int, Fields]] = {}
        self.ids: Final[dict[int, str]] = {}
        self._has_part = True  # the one part of the message that is open, without which no text can follow

    @property
    def can_follow(self) -> bool:
        """Nor between the beginning of a message and that of its text, or between their ends."""
        return self._has_part and super().can_follow

    def is_call(self, data: bytes) -> bool:
        begun = _begun_in(data)
        return begun is not None and begun.item is not None and begun.item.type in ("function_call", "custom_tool_call")

    def _add(self, kind: str, fields: Fields) -> bool:
        self.next_number = number(fields.get("sequence_number")) + 1
        place = fields.get("output_index", 0)
        if kind == "response.output_text.delta":
            return fields.get("content_index", 0) == 0 and self._say("text", fields.get("delta"), place)
        if kind in _HEADS:
            self.head = object_of(fields.get("response"))
            return True
        if kind == "response.output_item.added":
            return self._item_begins(object_of(fields.get("item")), place)
        if kind == "response.output_item.done":
            return self._item_ends(object_of(fields.get("item")), place)
        if kind == "response.content_part.added":
            part = object_of(fields.get("part"))
            self._has_part = True
            is_text = part.get("type") == "output_text" and fields.get("content_index", 0) == 0
            return is_text and self._say("text", part.get("text"), place)
        if kind in _TEXT_IS_WHOLE:
            self._has_part = False
            return True
        if kind == "response.output_text.annotation.added":
            if (last := self.open) is not None:
                last.notes = [*last.notes, object_of(fields.get("annotation"))]
            return True
        return kind.startswith(_THOUGHTS) or kind in _NO_WORDS

    def _item_begins(self, item: Fields, place: Any) -> bool:
        kind: Kind | None = {"message": "text", "reasoning": "thinking"}.get(text_in(item.get("type")))  # type: ignore[assignment]
        if not self._begin(kind, place):
            return False
        self.ids[len(self.blocks) - 1] = text_in(item.get("id"))
        self._has_part = kind == "thinking"
        return not item.get("content")

    def _item_ends(self, item: Fields, place: Any) -> bool:
        self.items[place] = item
        self._has_part = True
        return self._stop(place)
