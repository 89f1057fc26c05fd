"""FileKeys: a key source that follows its file."""

import asyncio
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from crplugins.keys.file.file import KeyFile, KeyFileError, Stamp
from crplugins.keys.file.store import FileStore
from crplugins.keys.inline import KeyTable
from crplugins.keys.key import Key
from crplugins.keys.secrets import Digester
from crplugins.keys.source import Found, SourceUnavailable

POLL_SECONDS: Final = 0.5
"""A change is taken at the first look after it, or the second: live well within 2 s."""

logger = logging.getLogger("crplugins.keys")


class FileKeys:
    """The keys of a YAML or JSON file, read again when it changes.

    A file that cannot be used changes nothing: the last good one stays, the log names key and line once, and
    `problem` holds the same text until the file is good again. At start-up it raises `KeyFileError`.

    `store` changes the file; such changes count at once here.

    Args:
        sleep: waits between two looks at the file.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        digester: Digester | None = None,
        environ: Mapping[str, str] = os.environ,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._file = KeyFile(path, digester or Digester(), environ)
        self.store: Final = FileStore(path, digester=self._file.digester, environ=environ, changed=self._load)
        self.problem: str | None = None
        self._sleep = sleep
        self._loading = threading.Lock()
        self._table: KeyTable | None = None
        self._loaded: Stamp | None = None
        self._seen: Stamp | None = None
        self._watcher: asyncio.Task[None] | None = None

    @property
    def keys(self) -> tuple[Key, ...]:
        """Those of the last good file; none before it has been read."""
        return () if self._table is None else self._table.keys

    async def find(self, secret: str) -> Found | None:
        if self._table is None:
            raise SourceUnavailable("the keys file has not been read")
        return self._table.find(secret)

    async def refresh(self) -> None:
        """Look at the file, and read it if it has changed."""
        await asyncio.to_thread(self._look)

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._load)
        self._watcher = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            with suppress(asyncio.CancelledError):
                await self._watcher

    def __repr__(self) -> str:
        return f"FileKeys({str(self._file.path)!r})"

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
        except KeyFileError as error:
            self._complain(str(error))

    def _is_news(self, stamp: Stamp) -> bool:
        """Whether to read the file: replaced as a whole it is ready, written in place once it has stopped changing.

        Half a YAML list is a valid one: read too early, keys would be refused that are still to be written.
        """
        known, seen, self._seen = self._loaded, self._seen, stamp
        if stamp == known:
            return False
        return known is None or stamp.inode != known.inode or stamp == seen

    def _load(self) -> None:
        with self._loading:  # the store's thread loads too, and an older reading must not end up on top
            self._loaded = self._file.stamp()  # also of a broken file, which is not read again and again
            contents = self._file.read()
            self._loaded, self._table = contents.stamp, KeyTable(contents.keys, self._file.digester)
            if self.problem is not None:
                logger.warning("%s is good again: %d keys", self._file.path.name, len(contents.keys))
            self.problem = None

    def _complain(self, problem: str) -> None:
        if problem != self.problem:
            logger.error("the keys stay as they were: %s", problem.replace("\n", "; "))
        self.problem = problem
