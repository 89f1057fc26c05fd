"""A configuration file in a folder of its own."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from crplugins.config import Config, ConfigError, load_config

Load = Callable[..., Config]
Refuse = Callable[..., list[str]]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """`load(text, NAME=value)`: the configuration in `text`, read from a file called gateway.yaml."""
    monkeypatch.chdir(tmp_path)

    def load_text(text: str, environ: Mapping[str, str] = {}) -> Config:
        Path("gateway.yaml").write_text(text, encoding="utf-8")
        return load_config("gateway.yaml", environ)

    return load_text


@pytest.fixture
def refuse(load: Load) -> Refuse:
    """`refuse(text)`: the lines of the ConfigError that `text` ends in, without the name of the file."""

    def refused_with(text: str, environ: Mapping[str, str] = {}) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            load(text, environ)
        return [line.removeprefix("gateway.yaml, ") for line in str(caught.value).splitlines()]

    return refused_with
