"""Keys in a YAML or JSON file: a source that follows the file, and a store that changes it."""

from crplugins.keys.file.source import FileKeys
from crplugins.keys.file.store import FileStore
from crplugins.keys.store import KeyFileError

__all__ = ["FileKeys", "FileStore", "KeyFileError"]
