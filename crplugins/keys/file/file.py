"""KeyFile: reads a keys file whole and replaces it whole. Blocks; callers stand in a thread."""

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from crplugins.core.without_collector import without_collector
from crplugins.keys.entry import Reading, read_keys
from crplugins.keys.file.entry import FileEntry
from crplugins.keys.key import Key
from crplugins.keys.secrets import Digester
from crplugins.keys.store import KeyFileError
from crplugins.settings.document import YamlDocument, read_document
from crplugins.settings.errors import ConfigError, Problem, Source

BOM: Final = "\ufeff"


class Stamp(NamedTuple):
    """What tells one state of a file from another. `place` is its path without symlinks."""

    place: str
    inode: int
    size: int
    modified_ns: int
    changed_ns: int


class Contents(msgspec.Struct, frozen=True):
    """A keys file as it was read: its text, what that says, and the keys. No `stamp` for text that is in no file yet.

    `document.data` has every key of the file, known or not; times are texts.
    """

    text: str
    document: YamlDocument
    keys: tuple[Key, ...]
    stamp: Stamp | None = None

    @property
    def entries(self) -> list[Any]:
        entries: list[Any] = self.document.data["keys"]
        return entries


class KeyFile:
    """One keys file. A symlink is followed, so that replacing the file leaves the link."""

    def __init__(
        self, path: str | os.PathLike[str], digester: Digester, environ: Mapping[str, str] = os.environ
    ) -> None:
        self.path: Final = Path(path)
        self.digester: Final = digester
        self.reading: Final = Reading(digester, environ)

    def stamp(self) -> Stamp:
        """Raises `KeyFileError` if there is no file."""
        try:
            return _stamp(self.path, self.path.stat())
        except OSError as error:
            raise self._unreadable(error) from None

    def read(self) -> Contents:
        """The whole file, checked. Raises `KeyFileError`."""
        text, stamp = self.text()
        return msgspec.structs.replace(self.parse(text), stamp=stamp)

    def parse(self, text: str) -> Contents:
        """`text` as the contents of the file, checked. Raises `KeyFileError`."""
        with without_collector():
            return self._parsed(text)

    def _parsed(self, text: str) -> Contents:
        document = self._document(text)
        with self._named():
            try:
                keys = read_keys(document.data["keys"], self.reading, section=FileEntry)
            except ConfigError as error:
                raise document.source.error(error.problems) from None
        return Contents(text, document, keys)

    def document(self) -> YamlDocument:
        """The file without a look at what its entries say. Raises `KeyFileError`."""
        return self._document(self.text()[0])

    def text(self) -> tuple[str, Stamp]:
        """What it holds, not looked at. Raises `KeyFileError`."""
        try:
            with self.path.open("rb") as file:
                stamp = _stamp(self.path, os.fstat(file.fileno()))
                return file.read().decode(), stamp
        except OSError as error:
            raise self._unreadable(error) from None
        except UnicodeDecodeError:
            raise self._error("is not UTF-8 text") from None

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except KeyFileError:
            raise
        except ConfigError as error:
            raise KeyFileError(error.problems, self.path.name) from None

    @property
    def is_json(self) -> bool:
        return self.path.suffix == ".json"

    def _document(self, text: str) -> YamlDocument:
        """What `text` says, with a list under `keys`."""
        with self._named():
            if self.is_json:
                document = YamlDocument(self._json(text.removeprefix(BOM)), Source(self.path.name), [])
            else:
                document = read_document(text.removeprefix(BOM), self.path.name, "a list under 'keys:'")
            if document.problems:
                raise document.source.error(document.problems)
        if not isinstance(document.data.get("keys"), list):
            raise self._error("there must be a list under 'keys:'")
        return document

    def _json(self, text: str) -> dict[str, Any]:
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise self._error(f"not valid JSON: {error.msg}", error.lineno) from None
        except RecursionError:
            raise self._error("not valid JSON: too many brackets inside one another") from None
        if not isinstance(data, dict):
            raise self._error("the file must hold a list under 'keys:'", 1)
        return data

    def replace(self, text: str) -> None:
        """Write `text` so that a reader, or a crash, sees the old file or the new one and nothing between.

        Raises `KeyFileError`.
        """
        target = Path(os.path.realpath(self.path))
        try:
            descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
            try:
                keep_owner(descriptor, target)
                _fill(descriptor, text.encode())
                with suppress(FileNotFoundError):  # a new file stays as mkstemp makes it: for its owner alone
                    Path(name).chmod(target.stat().st_mode)
                Path(name).replace(target)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
            _sync_folder(target.parent)
        except OSError as error:
            raise self._error(f"cannot be written ({error.strerror})") from None

    def _unreadable(self, error: OSError) -> KeyFileError:
        if isinstance(error, FileNotFoundError):
            return self._error("there is no such file")
        return self._error(f"cannot be read ({error.strerror})")

    def _error(self, message: str, line: int | None = None) -> KeyFileError:
        return KeyFileError([Problem((), message, line)], self.path.name)


def _stamp(path: Path, stat: os.stat_result) -> Stamp:
    return Stamp(os.path.realpath(path), stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


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


def keep_owner(descriptor: int, like: Path) -> None:
    """Give an open file to whom `like` belongs, where we may: made by root it would be read by root alone, and the
    gateway of another user would find no keys at its next start."""
    with suppress(OSError):  # the first key of a file, or somebody who may not give files away
        found, made = like.stat(), os.fstat(descriptor)
        if (found.st_uid, found.st_gid) != (made.st_uid, made.st_gid):
            os.fchown(descriptor, found.st_uid, found.st_gid)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of `path`, waiting for it as long as it takes.

    It is a file beside it: a lock on the file itself would end when the file is replaced. Raises `KeyFileError` if
    there can be none.
    """
    try:
        file = path.with_name(f".{path.name}.lock").open("a+b")
    except OSError as error:
        message = f"its folder cannot be written to ({error.strerror})"
        raise KeyFileError([Problem((), message)], path.name) from None
    with file:
        keep_owner(file.fileno(), path)
        fcntl.flock(file, fcntl.LOCK_EX)
        yield  # closing the file gives the lock back, also when the process dies
