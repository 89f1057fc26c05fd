"""FileWatch: whether the configuration file has changed, for `server.watch`."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

LOOK_SECONDS: Final = 0.5
QUIET_SECONDS: Final = 1.0
"""How long a file must not have changed: half of one that is being written may be a valid one."""

Stamp = tuple[str, int, int, int, int]


class FileWatch:
    """
    Args:
        clock: monotonic seconds.
    """

    def __init__(self, file: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.file: Final = file
        self._clock: Final = clock
        self.note()

    def note(self) -> None:
        """What is there now is about to be read. Blocks."""
        self._known = self._seen = self._stamp()
        self._since = self._clock()

    def changed(self) -> bool:
        """Whether it is another one than at the last True, or when it was noted. Blocks. Call it every `LOOK_SECONDS`.

        A file that is gone is none: an editor may be about to put another in its place.
        """
        stamp, now = self._stamp(), self._clock()
        if stamp != self._seen:
            self._seen, self._since = stamp, now
        if stamp is None or stamp == self._known or now - self._since < QUIET_SECONDS:
            return False
        self._known = stamp
        return True

    def _stamp(self) -> Stamp | None:
        """Through symlinks, of which Kubernetes replaces one when a ConfigMap changes."""
        try:
            found = self.file.stat()
            return (str(self.file.resolve()), found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        except OSError:
            return None
