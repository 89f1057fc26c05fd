"""Start: what `crplugins serve` was started with, from which its processes read the configuration, now and again."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgspec

from crplugins.cli.configuration import read_whole
from crplugins.cli.preflight import require_files
from crplugins.config import Config
from crplugins.config.load import text_of
from crplugins.config.server import LogLevel
from crplugins.settings.errors import Problem

if TYPE_CHECKING:
    from crplugins.cli.env_file import EnvFile

_NO_KEYS = (
    "a configuration without keys cannot follow one with keys: `crplugins serve` generates a key at its start alone"
)


class Start(msgspec.Struct, frozen=True):
    """Every process of a run has the same.

    Attributes:
        file: the configuration file, absolute; None for a run without one.
        text: what the file said when it was applied last; None to look at the file. A worker that takes the place of a
            dead one serves by what the others serve by, whatever the file has become.
        run_key: a key generated for this run, which a configuration without keys has.
        server: settings of `server` that the command line has, and that go before those of the file.
        log_level: in the place of `log.level` in the file.
        env_file: variables for the configuration, which is read with it, see `EnvFile`.
        limit_store: a store that all processes share, in the place of one in the memory of each; None for one process.
    """

    file: Path | None = None
    text: str | None = None
    run_key: str | None = None
    limit_store: str | None = None
    server: Mapping[str, Any] = msgspec.field(default_factory=dict)
    log_level: LogLevel | None = None
    env_file: "EnvFile | None" = None

    def with_text(self, text: str | None) -> Self:
        return msgspec.structs.replace(self, text=text)

    def file_text(self) -> str | None:
        """What the file says now. Raises `ConfigError`."""
        return None if self.file is None else text_of(self.file)

    def read(self) -> Config:
        """The configuration, as far as it can be judged without opening anything. Blocks. Raises `ConfigError`."""
        if self.env_file is not None:
            self.env_file.load()
        config = self.completed(read_whole(self.file, self.text))
        require_files(config)
        return config

    def restore(self) -> None:
        """What was read is refused: the environment is as before."""
        if self.env_file is not None:
            self.env_file.restore()

    def completed(self, config: Config) -> Config:
        """The same with what this run adds. Raises `ConfigError`."""
        if self.server:
            config = config.with_server(self.server)
        if not config.keys:
            if self.run_key is None:
                raise config.source.error([Problem(("keys",), _NO_KEYS)])
            config = config.with_run_key(self.run_key)
        if self.limit_store is not None and config.limits.store == "memory":
            config = config.with_limit_store(self.limit_store)
        return config
