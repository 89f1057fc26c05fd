"""HiddenKeys: the keys that have given their place to others, where several processes share their metrics in files.

Nothing can be removed from such a file. So each process says which of its keys have no place any more, and a key that
has none in any running process is left out of a scrape. Its numbers stay in the files: when it comes back they go on
from where they were, and no counter that is shown ever goes back.
"""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from crplugins.plugins.metrics.directory import hidden_file, runs

if TYPE_CHECKING:
    from prometheus_client.core import Metric

MOST: Final = 10
"""Times as many keys as have a place may have had one: so long the files are at most. Later keys are `other`."""


class HiddenKeys:
    """Those of this process, in a file that says of each key in turn whether it has lost its place or has one again."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._hidden: set[str] = set()
        self._often = 0

    def hide(self, key: str, cap: int) -> bool:
        """Whether it could be, without the files growing too long: `cap` keys have a place."""
        if self._often >= MOST * cap:
            return False
        self._often += 1
        with suppress(OSError):  # it goes on to be shown
            self._say(key, hidden=True)
            self._hidden.add(key)
        return True

    def show(self, key: str) -> None:
        """It has a place again, if it had lost it."""
        if key in self._hidden:
            self._hidden.discard(key)
            try:
                self._say(key, hidden=False)
            except OSError:  # the disk is full: a file that is emptied hides nothing
                with suppress(OSError):
                    os.truncate(self._file, 0)

    @property
    def _file(self) -> Path:
        return hidden_file(self._directory, os.getpid())

    def _say(self, key: str, *, hidden: bool) -> None:
        with self._file.open("ab", buffering=0) as file:
            file.write(json.dumps([key, hidden]).encode() + b"\n")


def without_hidden(metrics: "Iterable[Metric]", directory: Path) -> "Iterator[Metric]":
    """Metrics that were read from files, without the series of keys that have no place in any running process."""
    hidden = _hidden_in_all(directory)
    for metric in metrics:
        if hidden:
            metric.samples = [sample for sample in metric.samples if sample.labels.get("key_id") not in hidden]
        yield metric


def _hidden_in_all(directory: Path) -> frozenset[str]:
    by_process = {
        pid: _hidden_in(hidden_file(directory, pid))
        for pid in (file.stem.rpartition("_")[2] for file in directory.glob("counter_*.db"))
        if runs(pid)
    }
    hidden = set[str]().union(*by_process.values())
    for pid, own in by_process.items():
        if hidden:  # else nothing has to be looked for in its file
            hidden -= _keys_in(directory / f"counter_{pid}.db") - own
    return frozenset(hidden)


def _hidden_in(file: Path) -> set[str]:
    keys = set[str]()
    with suppress(FileNotFoundError):
        for line in file.read_bytes().splitlines():
            with suppress(ValueError):  # the process is writing it
                key, hidden = json.loads(line)
                (keys.add if hidden else keys.discard)(key)
    return keys


def _keys_in(file: Path) -> set[str]:
    from prometheus_client.mmap_dict import MmapedDict

    keys = set[str]()
    with suppress(FileNotFoundError):  # its process has just exited
        for series, *_ in MmapedDict.read_all_values_from_file(str(file)):  # type: ignore[no-untyped-call]
            keys.add(json.loads(series)[2].get("key_id"))
    return keys
