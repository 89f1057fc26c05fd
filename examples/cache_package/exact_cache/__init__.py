"""ExactCache: a request that is exactly like one before is answered from memory, and costs nothing."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field

from crplugins import Event, Exchange, Plugin, Reply, Slot

Asked = bytes


@dataclass
class Kept:
    """A whole answer: the bytes of its events, or of its one document."""

    parts: tuple[bytes, ...]
    is_stream: bool
    until: float

    @property
    def size(self) -> int:
        return sum(map(len, self.parts))


@dataclass
class Listening:
    """An answer that is being heard, to be kept if it comes to its end."""

    asked: Asked
    parts: list[bytes] = field(default_factory=list)
    size: int = 0
    is_stream: bool = False
    whole: bool = False


LISTENING: Slot[Listening] = Slot("an answer that may be kept")


class ExactCache(Plugin):
    """Keeps whole answers, and gives them to the same key for the same body, byte for byte.

    Stands innermost, where it is put without `before:` and `after:`: keys, limits, names and records are as for any
    other answer. One from the cache is a request to limits, and no tokens and no money. A client that wants a new one
    sends `cache-control: no-cache`; with `no-store` nothing of its request is kept.

    Args:
        seconds: how long an answer is kept.
        megabytes: how much memory all of them may take; those that were used least recently go first.
        shared: answer one key with what another was told. Both then learn what the other asks.
        clock: monotonic seconds.
    """

    reads_body = True
    reads_events = True

    def __init__(
        self,
        *,
        seconds: float = 3600,
        megabytes: float = 64,
        shared: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if seconds <= 0 or megabytes <= 0:
            raise ValueError("seconds and megabytes must be more than 0")
        self._seconds, self._room, self._shared, self._clock = seconds, int(megabytes * 1_000_000), shared, clock
        self._kept: OrderedDict[Asked, Kept] = OrderedDict()
        self._size = 0

    def on_request(self, exchange: Exchange) -> None:
        if exchange.body is None:
            return
        control = exchange.header(b"cache-control") or ""
        asked = self._asked(exchange, exchange.body.raw)
        kept = None if "no-cache" in control or "no-store" in control else self._found(asked)
        if kept is not None:
            kind = b"text/event-stream" if kept.is_stream else b"application/json"
            body = _replayed(kept) if kept.is_stream else b"".join(kept.parts)
            exchange.answered_from_cache(Reply(200, [(b"content-type", kind), (b"x-cache", b"hit")], body))
        elif "no-store" not in control:
            LISTENING.set(exchange, Listening(asked))

    def on_event(self, exchange: Exchange, event: Event) -> Event:
        heard = LISTENING.get(exchange)
        if heard is not None and not event.is_comment and heard.size <= self._room:
            heard.parts.append(event.raw)
            heard.size += len(event.raw)
            heard.is_stream = not event.document
            heard.whole = event.document or event.is_done
        return event

    def on_finish(self, exchange: Exchange) -> None:
        """Only what came to its end, and whose end its client has seen, is the answer to anything."""
        heard = LISTENING.get(exchange)
        if heard is not None and heard.whole and exchange.status == 200 and exchange.outcome == "ok":
            self._keep(heard.asked, Kept(tuple(heard.parts), heard.is_stream, self._clock() + self._seconds))

    def _asked(self, exchange: Exchange, body: bytes) -> Asked:
        key_id = exchange.principal.key_id if exchange.principal is not None and not self._shared else ""
        return hashlib.sha256(b"%d:%b%b" % (len(key_id.encode()), key_id.encode(), body)).digest()

    def _found(self, asked: Asked) -> Kept | None:
        kept = self._kept.get(asked)
        if kept is None:
            return None
        if kept.until <= self._clock():
            self._drop(asked)
            return None
        self._kept.move_to_end(asked)
        return kept

    def _keep(self, asked: Asked, kept: Kept) -> None:
        if kept.size > self._room:
            return
        self._drop(asked)
        self._kept[asked] = kept
        self._size += kept.size
        while self._size > self._room:
            self._drop(next(iter(self._kept)))

    def _drop(self, asked: Asked) -> None:
        dropped = self._kept.pop(asked, None)
        self._size -= 0 if dropped is None else dropped.size


async def _replayed(kept: Kept) -> AsyncGenerator[bytes, None]:
    for part in kept.parts:
        yield part
