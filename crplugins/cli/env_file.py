"""EnvFile: variables from a file of lines `NAME=value`, for `crplugins serve --env-file`."""

import os
from collections.abc import Mapping, MutableMapping
from io import StringIO
from pathlib import Path
from typing import Final

from crplugins.settings.errors import ConfigError, Problem


class EnvFile:
    """What the process's own environment has comes first, as with Docker and uvicorn. Comments, quotes, `export` and
    `${OTHER}` are read as python-dotenv reads them.

    It is read again with the configuration, so that a changed key counts.
    """

    def __init__(self, path: Path, environ: MutableMapping[str, str] = os.environ) -> None:
        self.path: Final = path.absolute()
        self._own = frozenset(environ)
        self._before: dict[str, str | None] = {}
        self._loaded: frozenset[str] = frozenset()
        self._loaded_before = self._loaded

    def load(self, environ: MutableMapping[str, str] = os.environ) -> None:
        """Put its variables into the environment, and take those out that it had and has no longer. Blocks.

        Raises `ConfigError` for a file that cannot be read.
        """
        try:
            text = self.path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise ConfigError([Problem((), f"cannot be read ({reason})")], str(self.path)) from None
        if "\0" in text:
            raise ConfigError([Problem((), "a NUL character, which no variable can have")], str(self.path))
        from dotenv import dotenv_values  # few have such a file

        values = dotenv_values(stream=StringIO(text))
        found = {name: value for name, value in values.items() if value is not None and name not in self._own}
        self._before = {name: environ.get(name) for name in self._loaded | found.keys()}
        _put({name: found.get(name) for name in self._before}, environ)
        self._loaded_before, self._loaded = self._loaded, frozenset(found)

    def restore(self, environ: MutableMapping[str, str] = os.environ) -> None:
        """The configuration that it was loaded for is refused: as it was before."""
        _put(self._before, environ)
        self._before, self._loaded = {}, self._loaded_before


def _put(values: Mapping[str, str | None], environ: MutableMapping[str, str]) -> None:
    for name, value in values.items():
        if value is None:
            environ.pop(name, None)
        else:
            environ[name] = value
