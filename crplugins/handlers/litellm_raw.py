"""RawStream: the items of a provider's stream as litellm's parsers leave them, before its stream wrapper changes them.

The wrapper (`CustomStreamWrapper`) loses refusals, the roles and finish reasons of all choices but the first, and
invents ends and usage; and it is a third of litellm's CPU. It is used only for the few providers whose items it alone
can read (replicate, predibase, nlp_cloud, triton, sagemaker's boto3 streams and text completions).
"""

from collections.abc import AsyncIterator
from inspect import isasyncgen
from typing import Any, Self

from crplugins.handlers.litellm_hangup import hang_up
from crplugins.handlers.litellm_tap import Tap


class RawStream:
    """Iterates over items: OpenAI's chunks as dicts or as litellm's objects, or litellm's generic dicts (`text`, ...).

    Args:
        wrapper: what `acompletion(stream=True)` returned.
        ends_silently: the end of the items is the end of the answer (litellm's mock responses).
    """

    def __init__(self, wrapper: Any, *, ends_silently: bool = False) -> None:
        self.tap = Tap()
        self._wrapper = wrapper
        self._ends_silently = ends_silently
        self._stream: Any = None
        self._items: AsyncIterator[Any] | None = None
        self._raw = True
        self._exhausted = False
        self._held: list[Any] = []

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        if self._items is None:
            await self._open()
        if self._held:
            return self._held.pop()
        assert self._items is not None
        try:
            item = await anext(self._items)
        except StopAsyncIteration:
            self._exhausted = True
            if self._ends_silently or not self._raw:
                self.tap.done = self._ends_silently or self._wrapper_finished()
            raise
        return item if self._raw else self._as_reported(item)

    async def aclose(self) -> None:
        """End the upstream request now, wherever it is."""
        if not self._exhausted:
            await hang_up(self._stream)
        items, self._items = self._items, _nothing()
        if self._raw and isasyncgen(items):
            await items.aclose()
        if self._stream is not None:
            self._wrapper.completion_stream = self._stream
        await self._wrapper.aclose()

    async def _open(self) -> None:
        """Start reading. The first item tells whether the items can be read without the wrapper."""
        wrapper = self._wrapper
        if wrapper.completion_stream is None:
            await wrapper.fetch_stream()  # some providers' requests go out only here
        self._stream = stream = wrapper.completion_stream
        if not hasattr(stream, "__aiter__"):
            self._raw, self._items = False, aiter(wrapper)
            return
        self.tap.attach(stream)
        self._items = aiter(stream)
        async for item in self._items:
            if item is not None:
                self._put_back(item)
                return

    def _put_back(self, item: Any) -> None:
        if is_readable(item):
            self._held.append(item)
            return
        assert self._items is not None
        self._wrapper.completion_stream = _chained(item, self._items)
        self._raw, self._items = False, aiter(self._wrapper)

    def _wrapper_finished(self) -> bool:
        return bool(self._wrapper.received_finish_reason or self._wrapper.intermittent_finish_reason)

    def _as_reported(self, item: Any) -> Any:
        """An item of the wrapper, without the end and the usage that it made up."""
        if not self._wrapper_finished():
            for choice in item.choices:
                choice.finish_reason = None
        if not any(getattr(chunk, "usage", None) for chunk in self._wrapper.chunks):
            item.usage = None
        return item


def is_readable(item: Any) -> bool:
    """Whether the item has the shape of a chunk of chat completions, or litellm's generic one."""
    if isinstance(item, dict):
        return "choices" in item or "error" in item or {"text", "is_finished"} <= item.keys()
    choices = getattr(item, "choices", None)
    return isinstance(choices, list) and all(hasattr(choice, "delta") for choice in choices)


async def _chained(first: Any, rest: AsyncIterator[Any]) -> AsyncIterator[Any]:
    yield first
    async for item in rest:
        yield item


async def _nothing() -> AsyncIterator[Any]:
    return
    yield
