"""KeyFile: reads a keys file whole and replaces it whole. Blocks; callers stand in a thread."""

import fcntl
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from crplugins.keys.entry import EntryReader
from crplugins.keys.file.document import KeyFileError, KeysDocument, read_document, write_document
from crplugins.keys.key import Key
from crplugins.keys.secrets import Digester
from crplugins.keys.words import WordsRefused


class Stamp(NamedTuple):
    """What tells one state of a file from another."""

    inode: int
    size: int
    modified_ns: int
    changed_ns: int


@dataclass(frozen=True, slots=True)
class Contents:
    document: KeysDocument
    keys: tuple[Key, ...]
    stamp: Stamp


class KeyFile:
    """One keys file. A symlink is followed, so that replacing the file leaves the link."""

    def __init__(
        self, path: str | os.PathLike[str], digester: Digester, environ: Mapping[str, str] = os.environ
    ) -> None:
        self.path: Final = Path(path)
        self.digester: Final = digester
        self._environ = environ

    def stamp(self) -> Stamp:
        """Raises `KeyFileError` if there is no file."""
        try:
            return _stamp(self.path.stat())
        except OSError as error:
            raise self._unreadable(error) from None

    def read(self) -> Contents:
        """The whole file, checked. Raises `KeyFileError`."""
        try:
            with self.path.open("rb") as file:
                stamp = _stamp(os.fstat(file.fileno()))
                text = file.read().decode("utf-8-sig")
        except OSError as error:
            raise self._unreadable(error) from None
        except UnicodeDecodeError:
            raise KeyFileError(f"{self.path.name}: is not UTF-8 text") from None
        document = read_document(text, self.path.name)
        return Contents(document, self.check(document), stamp)

    def check(self, document: KeysDocument) -> tuple[Key, ...]:
        """The keys of `document`. Raises `KeyFileError`."""
        reader = EntryReader(self.digester, strict=False, environ=self._environ)
        try:
            return reader.keys(document.entries)
        except WordsRefused as error:
            raise document.error(error.problems) from None

    def replace(self, document: KeysDocument) -> None:
        """Write `document` so that a reader, or a crash, sees the old file or the new one and nothing between.

        Raises `KeyFileError`.
        """
        target = Path(os.path.realpath(self.path))
        try:
            descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
            try:
                _fill(descriptor, write_document(document).encode())
                with suppress(FileNotFoundError):  # a new file stays as mkstemp makes it: for its owner alone
                    Path(name).chmod(target.stat().st_mode)
                Path(name).replace(target)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
            _sync_folder(target.parent)
        except OSError as error:
            raise KeyFileError(f"{self.path.name}: cannot be written ({error.strerror})") from None

    def _unreadable(self, error: OSError) -> KeyFileError:
        if isinstance(error, FileNotFoundError):
            return KeyFileError(f"{self.path.name}: there is no such file")
        return KeyFileError(f"{self.path.name}: cannot be read ({error.strerror})")


def _stamp(stat: os.stat_result) -> Stamp:
    return Stamp(stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


def _fill(descriptor: int, text: bytes) -> None:
    with os.fdopen(descriptor, "wb") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Make the renaming durable too, where the file system lets a folder be flushed (some network ones do not)."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of `path`, waiting for it as long as it takes.

    It is a file beside it: a lock on the file itself would end when the file is replaced. Raises `KeyFileError` if
    there can be none.
    """
    try:
        file = path.with_name(f".{path.name}.lock").open("a+b")
    except OSError as error:
        raise KeyFileError(f"{path.name}: its folder cannot be written to ({error.strerror})") from None
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield  # closing the file gives the lock back, also when the process dies
