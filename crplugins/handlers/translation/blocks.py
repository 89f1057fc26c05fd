"""Blocks: an answer of chat completions as a sequence of thoughts, texts, refusals and calls, one after the other.

A chunk may mix them, and the arguments of parallel calls may come in turns. Messages and Responses tell one after the
other, so a block is told as it comes, and what comes of others meanwhile is kept until it has ended: a text where
anything else begins, a call where another begins and its arguments are whole.
"""

from collections import deque
from collections.abc import Iterator
from typing import Literal

import msgspec

from crplugins.core.call_numbers import CallIds, CallNumbers, index_of
from crplugins.core.delta import parts_of, thoughts_in
from crplugins.core.errors import no_completion
from crplugins.core.finish_reasons import openais_reason
from crplugins.core.lenient_json import decode_with_halves, encoded, object_of, objects_of
from crplugins.handlers.translation.translation import Fields, text_in

Kind = Literal["thinking", "text", "refusal", "call"]


class Block(msgspec.Struct, eq=False):
    """One part of an answer.

    Attributes:
        number: its place in the answer.
        id, name: of a call.
        signed: what the provider wants back with a thought: its blocks, signed or encrypted.
        notes: the sources that a text cites.
        stopped: it has been told to its end.
    """

    kind: Kind
    number: int
    id: str = ""
    name: str = ""
    pieces: list[str] = []
    signed: list[Fields] = []
    notes: list[Fields] = []
    stopped: bool = False

    @property
    def text(self) -> str:
        return "".join(self.pieces)


class BlockStep(msgspec.Struct, frozen=True, eq=False):
    """What happens to a block: it starts, a piece of it comes, it stops."""

    what: Literal["start", "piece", "stop"]
    block: Block
    piece: str = ""


class Blocks:
    """The blocks of one answer.

    Attributes:
        told: those that have started, in their order.
        finish: why the answer has ended; None while nobody has said so.
    """

    def __init__(self) -> None:
        self.told: list[Block] = []
        self.finish: str | None = None
        self._open: Block | None = None
        self._waiting: deque[Block] = deque()
        self._calls: dict[int, Block] = {}
        self._numbers = CallNumbers()
        self._ids = CallIds()
        self._named: Block | None = None  # a call whose arguments have not begun, and whose name may not be whole
        self._refused = False

    @property
    def reason(self) -> str:
        """Why the answer has ended, in the words of chat completions."""
        if self._refused and not self._calls:
            return "content_filter"
        if self._calls and self.finish in (None, "stop", "function_call"):
            return "tool_calls"
        return self.finish or "stop"

    def go_on(self, blocks: list[Block]) -> None:
        """These have been told. The last one goes on, if it has not stopped."""
        self.told = [msgspec.structs.replace(block, pieces=[*block.pieces]) for block in blocks]
        self._open = self.told[-1] if blocks and not blocks[-1].stopped else None

    def choice(self, choice: Fields, *, whole: bool = False) -> Iterator[BlockStep]:
        """The steps of one choice: of a chunk, or of a whole answer. Raises `GatewayError` 502."""
        said = choice.get("message" if whole else "delta")
        if isinstance(said, dict):
            yield from self._said(said, whole=whole)
        self.finish = openais_reason(choice.get("finish_reason")) or self.finish

    def end(self) -> Iterator[BlockStep]:
        """The steps that end the answer."""
        yield from self._begin_named()
        yield from self._stop()
        while self._waiting:
            yield from self._start(self._waiting.popleft())
            yield from self._stop()

    def _said(self, said: Fields, *, whole: bool) -> Iterator[BlockStep]:
        signed = objects_of(said.get("thinking_blocks"))
        thought = thoughts_in(said)
        if whole and signed:  # the same thoughts, and where each of them ends
            for block in signed:
                yield from self._words("thinking", text_in(block.get("thinking")))
                yield from self._sign(block)
        else:
            yield from self._words("thinking", thought)
            for block in signed:
                yield from self._sign(block)
        for kind, words in parts_of(said.get("content")):
            if kind != "thinking" or not (thought or (whole and signed)):
                yield from self._words(kind, words)
        for note in objects_of(said.get("annotations")):
            self._note(note)
        if refusal := text_in(said.get("refusal")):
            self._refused = True
            yield from self._words("refusal", refusal)
        for number, call in enumerate(_calls_of(said)):
            yield from self._call(call, number)

    def _words(self, kind: Kind, words: str) -> Iterator[BlockStep]:
        if not words:
            return
        yield from self._begin_named()
        if self._waiting:  # after a call that is not whole
            last = self._waiting[-1]
            if last.kind != kind:
                self._waiting.append(last := Block(kind, 0))
            last.pieces.append(words)
            return
        if self._open is None or self._open.kind != kind:
            yield from self._begin(Block(kind, 0, pieces=[words]))
            return
        self._open.pieces.append(words)
        yield BlockStep("piece", self._open, words)

    def _sign(self, block: Fields) -> Iterator[BlockStep]:
        """A thought is whole, and signed; or it is one that nobody may read."""
        yield from self._begin_named()
        block = {name: value for name, value in block.items() if name != "index"}
        if self._open is None or self._open.kind != "thinking" or block.get("type") != "thinking":
            yield from self._begin(Block("thinking", 0, signed=[block]))
        else:
            self._open.signed.append(block)
        yield from self._stop()

    def _note(self, note: Fields) -> None:
        text = self._open if self._open is not None and self._open.kind == "text" else None
        if text is not None:
            text.notes.append(note)

    def _call(self, call: Fields, number: int) -> Iterator[BlockStep]:
        function = object_of(call.get("function"))
        arguments = function.get("arguments")
        if arguments is not None and not isinstance(arguments, str):  # a few providers send the object itself
            arguments = encoded(arguments).decode()
        call_id, name = text_in(call.get("id")), text_in(function.get("name"))
        placed = self._numbers.note(index_of(call, number), call_id or None, name or None, arguments or "")
        block = self._calls.get(placed.number)
        if placed.again:
            return
        if placed.begins or block is None:
            yield from self._begin_named()
            block = self._calls[placed.number] = Block("call", 0, self._ids.of(call_id), name)
            self._named = block
        elif placed.names:
            block.name += name
        if block is self._named:
            block.pieces += [arguments] if arguments else []
            if arguments:
                yield from self._begin_named()
        elif arguments:
            block.pieces.append(arguments)
            if block is self._open:
                yield BlockStep("piece", block, arguments)
            elif block.stopped and arguments.strip():
                raise no_completion()  # it was whole, and told so

    def _begin_named(self) -> Iterator[BlockStep]:
        block, self._named = self._named, None
        if block is not None:
            yield from self._begin(block)

    def _begin(self, block: Block) -> Iterator[BlockStep]:
        """Tell it now, or when what is being told is whole."""
        if self._waiting or (self._open is not None and not _is_whole(self._open)):
            self._waiting.append(block)
            return
        yield from self._stop()
        yield from self._start(block)

    def _start(self, block: Block) -> Iterator[BlockStep]:
        block.number = len(self.told)
        self.told.append(block)
        self._open = block
        yield BlockStep("start", block)
        for piece in block.pieces:
            yield BlockStep("piece", block, piece)

    def _stop(self) -> Iterator[BlockStep]:
        block, self._open = self._open, None
        if block is not None:
            block.stopped = True
            yield BlockStep("stop", block)


def _is_whole(block: Block) -> bool:
    """Whether no more of it can come. A call whose arguments have not begun is none that has no arguments."""
    return block.kind != "call" or (bool(block.pieces) and arguments_of(block) is not None)


def arguments_of(block: Block) -> Fields | None:
    """The arguments of a call; None while they are not whole. A tool without parameters is called with none."""
    text = block.text
    if not text.strip():
        return {}
    try:
        value = decode_with_halves(text.encode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def choice_of(answer: Fields) -> Fields | None:
    """The one choice that is asked for."""
    return next((each for each in objects_of(answer.get("choices")) if each.get("index", 0) == 0), None)


def _calls_of(said: Fields) -> list[Fields]:
    calls = objects_of(said.get("tool_calls"))
    legacy = said.get("function_call")
    return calls or ([{"index": 0, "function": legacy}] if isinstance(legacy, dict) else [])
