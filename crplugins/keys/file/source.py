"""FileKeys: a key source that follows its file."""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from crplugins.core.shared import Shared
from crplugins.core.waiting import stopped
from crplugins.keys.file.file import KeyFile, Stamp
from crplugins.keys.file.reader import KeyReader
from crplugins.keys.file.store import FileStore
from crplugins.keys.inline import KeyTable
from crplugins.keys.key import Key
from crplugins.keys.secrets import Digester
from crplugins.keys.source import Found, SourceUnavailable
from crplugins.keys.store import KeyFileError

POLL_SECONDS: Final = 0.25
QUIET_SECONDS: Final = 1.4
"""How long a file that is written must not have changed. With the looks around it a change is live within 2 s."""

_PAUSE_SECONDS: Final = 0.0005

logger = logging.getLogger("crplugins.keys")


class FileKeys(Shared):
    """The keys of a YAML or JSON file, read again when it changes.

    A file that cannot be used changes nothing: the last good one stays, the log names key and line once, and
    `problem` holds the same text until the file is good again. At start-up it raises `KeyFileError`.

    `store` changes the file; such changes count at once here.

    Args:
        audit: the file of the audit log, see `FileStore`.
        sleep: waits between two looks at the file.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        digester: Digester | None = None,
        environ: Mapping[str, str] = os.environ,
        audit: str | os.PathLike[str] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file = KeyFile(path, digester or Digester(), environ)
        self.store: Final = FileStore(
            path, digester=self._file.digester, environ=environ, audit=audit, changed=self._load
        )
        self.problem: str | None = None
        self._sleep, self._clock = sleep, clock
        self._reader = KeyReader(self._file, pause=self._pause)
        self._loading = threading.Lock()
        self.key_table: KeyTable | None = None
        """The keys of the last good file; None before it has been read."""
        self._loaded: Stamp | None = None
        self._fault: str | None = None
        """What is wrong with the file as it was read last."""
        self._seen: Stamp | None = None
        self._since = 0.0
        self._watcher: asyncio.Task[None] | None = None

    @property
    def keys(self) -> tuple[Key, ...]:
        """Those of the last good file; none before it has been read."""
        return () if self.key_table is None else self.key_table.keys

    async def find(self, secret: str) -> Found | None:
        if self.key_table is None:
            raise SourceUnavailable("the keys file has not been read")
        return self.key_table.find(secret)

    async def refresh(self) -> None:
        """Look at the file, and read it if it has changed."""
        await asyncio.to_thread(self._look)

    async def open(self) -> None:
        await asyncio.to_thread(self._load)
        self._watcher = asyncio.create_task(self._watch())

    async def close(self) -> None:
        await stopped(self._watcher)

    def __repr__(self) -> str:
        return f"FileKeys({str(self._file.path)!r})"

    def _pause(self) -> None:
        """Let the event loop go first, once it has requests to answer."""
        if self.key_table is not None:
            time.sleep(_PAUSE_SECONDS)

    async def _watch(self) -> None:
        while True:
            await self._sleep(POLL_SECONDS)
            try:
                await self.refresh()
            except Exception:
                logger.exception("%s could not be looked at", self._file.path.name)

    def _look(self) -> None:
        try:
            stamp = self._file.stamp()
            if self._is_news(stamp):
                self._load()
            elif stamp == self._loaded:
                self._report(self._fault)  # it may have been away
        except KeyFileError as error:
            self._report(str(error))

    def _is_news(self, stamp: Stamp) -> bool:
        """Whether to read the file: replaced as a whole it is ready, written slowly once it has stopped changing.

        Half a YAML list is a valid one: read too early, keys would be refused that are still to be written.
        """
        known, now = self._loaded, self._clock()
        if stamp == known:
            return False
        if stamp != self._seen:
            self._seen, self._since = stamp, now
        return _is_whole(stamp, known) or now - self._since >= QUIET_SECONDS

    def _load(self) -> None:
        with self._loading:  # the store's thread loads too, and an older reading must not end up on top
            self._loaded = self._file.stamp()  # also of a broken file, which is not read again and again
            try:
                keys, stamp = self._reader.read()
            except KeyFileError as error:
                self._fault = str(error)
                raise
            self._loaded, self._fault = stamp, None
            self.key_table = KeyTable(keys, self._file.digester)
            del keys
            self._reader.release()
            self._report(None)

    def _report(self, problem: str | None) -> None:
        if problem == self.problem:
            return
        if problem is None:
            logger.warning("%s is good again: %d keys", self._file.path.name, len(self.keys))
        else:
            logger.error("the keys stay as they were: %s", problem.replace("\n", "; "))
        self.problem = problem


def _is_whole(stamp: Stamp, known: Stamp | None) -> bool:
    """Whether a file came to its place as a whole: after a symlink that was changed, or renamed after it was written.

    A file that is removed and written anew is neither. To write sets both of its times, to rename it only the second.
    """
    if known is None or stamp.inode == known.inode:
        return False
    return stamp.place != known.place or stamp.changed_ns > stamp.modified_ns
