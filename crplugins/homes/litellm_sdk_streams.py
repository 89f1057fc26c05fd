"""Streams of litellm's SDK, watched until they are gone: litellm reports none that its caller abandons.

A caller breaks out of its loop, closes the stream, drops it, or is cancelled: no callback of litellm's hears of that,
and the provider has worked all the same. The stream that a caller is given is a `CustomStreamWrapper`, which also keeps
the chunks as its parsers left them; litellm's log events have only a sum of their usage, made anew. So its constructor
and its two ways to close are extended here, once in a process.
"""

import atexit
import functools
import queue
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

SOON: Final = 2.0
"""Seconds that litellm has to report a stream that is gone. It reports one that came to its end in a task or a thread
of its own, a moment later."""

_TELLING: Final = 1.0
"""Seconds that `finish` waits for what the thread is telling of right then. A listener that hangs does not keep the
process from its end."""

_FINALIZER: Final = "_crplugins_finalizer"
_ANSWERS: Final = ("original_response", "complete_streaming_response", "async_complete_streaming_response")


class WatchedStream(msgspec.Struct, eq=False):
    """A stream that litellm has made.

    Attributes:
        call: what litellm knew of the call when it made the stream, as its log events are given it. A copy: litellm
            puts the stream itself into the mapping later, and what the stream's finalizer holds is never collected.
        chunks: those that the caller has read; grows while it reads.
        cached: litellm's cache gives it.
        listeners: who is told of its end: the callbacks that litellm had when it made the stream.
        begun, gone: monotonic seconds.
    """

    call: Mapping[str, Any]
    chunks: Sequence[Any]
    cached: bool
    listeners: "Sequence[StreamListener]"
    begun: float
    gone: float = 0.0

    @property
    def call_id(self) -> str:
        return str(self.call.get("litellm_call_id"))


class StreamListener:
    """A callback of litellm's that is told of streams."""

    def stream_gone(self, stream: WatchedStream) -> None:
        """Called in a thread, some time after the stream was closed or collected, however it had ended."""
        raise NotImplementedError


class StreamWatch:
    """All that are watched. A finalizer may run in the middle of anything, so it only puts into what is reentrant."""

    def __init__(self) -> None:
        self._gone: Final[queue.SimpleQueue[WatchedStream]] = queue.SimpleQueue()
        self._untold: Final[dict[int, WatchedStream]] = {}
        """Those that are gone, by `id`, until the thread or `finish` takes one out to tell of it."""
        self._known: Final[dict[str, list[WatchedStream]]] = {}
        self._open: Final[set[weakref.finalize[..., Any]]] = set()
        self._lock: Final = threading.Lock()
        self._telling: Final = threading.Lock()
        """Held by the thread while it tells of a stream."""
        self._thread: threading.Thread | None = None

    def watch(self, wrapper: Any) -> None:
        """From here until it is closed or collected."""
        listeners = _listeners()
        if not listeners:
            return
        cached = wrapper.custom_llm_provider == "cached_response"
        details = wrapper.logging_obj.model_call_details
        call = {name: value for name, value in details.items() if name not in _ANSWERS}
        stream = WatchedStream(call, wrapper.chunks, cached, listeners, time.monotonic())
        finalizer = weakref.finalize(wrapper, self._put, stream)
        finalizer.atexit = False  # `finish` comes before
        setattr(wrapper, _FINALIZER, finalizer)
        with self._lock:
            self._known.setdefault(stream.call_id, []).append(stream)
            self._open.add(finalizer)
            if self._thread is None:
                self._thread = threading.Thread(target=self._tell_all, name="crplugins-litellm-streams", daemon=True)
                self._thread.start()

    def of(self, call: Mapping[str, Any]) -> WatchedStream | None:
        """The stream of a call; None for a plain answer, and for what litellm made without a callback of ours.

        A router's stream wraps another one of the same call, and only the inner one keeps the chunks.
        """
        with self._lock:
            known = list(self._known.get(str(call.get("litellm_call_id")), ()))
        return next((stream for stream in reversed(known) if stream.chunks), known[-1] if known else None)

    def finish(self) -> None:
        """Tell of all streams now, those that are still open too: nobody will read them any more."""
        with self._lock:
            still_open = list(self._open)
        for finalizer in still_open:
            finalizer()
        for stream in list(self._untold.values()):
            self._tell(stream)
        if self._telling.acquire(timeout=_TELLING):
            self._telling.release()

    def _put(self, stream: WatchedStream) -> None:
        stream.gone = time.monotonic()
        self._untold[id(stream)] = stream
        self._gone.put(stream)

    def _tell_all(self) -> None:
        while True:
            stream = self._gone.get()
            time.sleep(max(stream.gone + SOON - time.monotonic(), 0))
            with self._telling:
                self._tell(stream)

    def _tell(self, stream: WatchedStream) -> None:
        if self._untold.pop(id(stream), None) is None:  # the thread waits with it, and `finish` does not
            return
        told = self.of(stream.call) or stream
        told.gone = told.gone or stream.gone
        for listener in stream.listeners:
            listener.stream_gone(told)
        with self._lock:
            self._open.difference_update([finalizer for finalizer in self._open if not finalizer.alive])
            others = [other for other in self._known.get(stream.call_id, ()) if other is not stream]
            if others:
                self._known[stream.call_id] = others
            else:
                self._known.pop(stream.call_id, None)


STREAMS: Final = StreamWatch()


def watch_streams() -> None:
    """Watch every stream that litellm makes from now on. A second call changes nothing."""
    from litellm.litellm_core_utils.streaming_handler import CustomStreamWrapper as Wrapper

    if not hasattr(Wrapper, _FINALIZER):
        setattr(Wrapper, _FINALIZER, None)
        _extend(Wrapper, "__init__", STREAMS.watch)
        _extend(Wrapper, "close", _closed)
        _extend_async(Wrapper, "aclose", _closed)
        atexit.register(STREAMS.finish)


def _closed(wrapper: Any) -> None:
    finalizer = getattr(wrapper, _FINALIZER)
    if finalizer is not None:
        finalizer()


def _extend(kind: type[Any], name: str, after: Callable[[Any], None]) -> None:
    original = getattr(kind, name)

    @functools.wraps(original)
    def extended(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(self, *args, **kwargs)
        after(self)
        return result

    setattr(kind, name, extended)


def _extend_async(kind: type[Any], name: str, after: Callable[[Any], None]) -> None:
    original = getattr(kind, name)

    @functools.wraps(original)
    async def extended(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return await original(self, *args, **kwargs)
        finally:
            after(self)

    setattr(kind, name, extended)


def _listeners() -> list[StreamListener]:
    """The callbacks of ours that litellm has, in whichever of its lists."""
    import litellm

    lists: tuple[list[Any], ...] = (litellm.callbacks, litellm.success_callback, litellm._async_success_callback)
    found = {id(one): one for callbacks in lists for one in list(callbacks) if isinstance(one, StreamListener)}
    return list(found.values())
