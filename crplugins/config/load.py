"""Reads a configuration: find the file, expand the environment, check every key, then every value."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from pydantic import ValidationError

from crplugins.config.doubts import doubts
from crplugins.config.litellm.includes import INCLUDE, with_included
from crplugins.config.litellm.reading import LitellmReading
from crplugins.config.litellm.settings import SECTIONS
from crplugins.config.schema import Config, key_problems
from crplugins.settings.document import YamlDocument, read_document
from crplugins.settings.environment import Expansion
from crplugins.settings.errors import ConfigError, KeyPath, Problem, Source
from crplugins.settings.reading import KeyCheck
from crplugins.settings.wrong_values import wrong_values

CONFIG_VARIABLE: Final = "CRPLUGINS_CONFIG"
DEFAULT_FILE: Final = "gateway.yaml"


def find_config(option: Path | None, environ: Mapping[str, str] = os.environ, cwd: Path | None = None) -> Path | None:
    """The file to read: `option`, else what `CRPLUGINS_CONFIG` names, else `gateway.yaml` in `cwd` if there is one.

    Without `cwd` that is the current folder.
    """
    if option is not None:
        return option
    if environ.get(CONFIG_VARIABLE):
        return Path(environ[CONFIG_VARIABLE])
    default = (cwd or Path()) / DEFAULT_FILE
    return default if default.is_file() else None


def load_config(path: str | Path, environ: Mapping[str, str] = os.environ, text: str | None = None) -> Config:
    """The configuration in the YAML file `path`. Imports the modules its `plugins` name.

    `text` is what the file said when somebody else read it; by default it is read.

    Raises `ConfigError` with every problem found, or if the file cannot be read.
    """
    document = read_config_file(Path(path), text)
    return _build(document, environ).config()


def read_config_file(path: Path, text: str | None = None) -> YamlDocument:
    """The document in a file, of which somebody may have read the `text`, and in those that it includes.

    Raises `ConfigError`.
    """
    return with_included(read_document(text_of(path) if text is None else text, str(path)), path, text_of)


def parse_config(mapping: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> Config:
    """The same from Python: the keys of the file, None for one that is not given.

    Raises `ConfigError`, without lines.
    """
    given = {key: value for key, value in mapping.items() if value is not None}
    return _build(YamlDocument(given, Source(), []), environ).config()


def text_of(path: Path) -> str:
    """What a configuration file says. Raises `ConfigError` if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        reason = "there is no such file"
    except OSError as error:
        reason = f"cannot be read ({error.strerror})"
    except UnicodeDecodeError:
        reason = "is not UTF-8 text"
    raise ConfigError([Problem((), reason)], str(path))


class Outcome(msgspec.Struct, frozen=True):
    """What has become of a configuration: a `Config`, or problems, which say where in the file.

    Attributes:
        reading: what of it is LiteLLM's, and what becomes of each key.
    """

    document: YamlDocument
    reading: LitellmReading
    made: Config | None
    problems: Sequence[Problem]
    warnings: Sequence[str] = ()

    def config(self) -> Config:
        """Raises `ConfigError`."""
        if self.made is None or self.problems:
            raise self.document.source.error(self.problems)
        reading = self.reading
        return self.made.read_from(
            self.document.source,
            tuple(self.warnings),
            reading.variables,
            is_litellms=reading.is_litellms,
            places=tuple(reading.entries),
        )


def outcome_of(document: YamlDocument, environ: Mapping[str, str] = os.environ) -> Outcome:
    """What becomes of a file of LiteLLM's, whatever is wrong with it."""
    return _build(document, environ, is_litellms=True)


def parse_text(text: str, environ: Mapping[str, str] = os.environ) -> Config:
    """The configuration in a text, which includes no other. Raises `ConfigError`."""
    return _build(read_document(text, DEFAULT_FILE), environ).config()


def _build(document: YamlDocument, environ: Mapping[str, str], *, is_litellms: bool | None = None) -> Outcome:
    """Checks what is there again without what may be left out, until nothing is wrong or what is wrong has to stay."""
    reading = LitellmReading(document.data, environ, is_litellms=is_litellms)
    found = [problem for problem in document.problems if not _stops_nothing(problem)]
    reading.not_read([problem.message for problem in document.problems if problem.path == (INCLUDE,)])
    while True:
        keys, expansion = KeyCheck(), Expansion(reading.environ)
        values = expansion.expand(keys.checked(reading.data, Config))
        config, wrong = _validate(values)
        wrong = [problem for problem in wrong if not _is_below(problem.path, expansion.problems)]
        problems = [*keys.problems, *expansion.problems, *wrong]
        if not problems or not reading.leave_out(problems):
            break
    problems = [*found, *(reading.nothing_served() or map(reading.placed, problems))]
    if config is None or problems:
        return Outcome(document, reading, None, problems)
    doubtful = doubts(config, reading.environ, reading.entries)
    warnings = [*_told_of(document, reading), *keys.warnings, *expansion.warnings, *doubtful]
    of_litellm = [
        f"{problem.sentence(None)}; what LiteLLM's proxy reads is not judged here"
        for problem in document.problems
        if _stops_nothing(problem) and problem.path != (INCLUDE,)
    ]
    return Outcome(document, reading, config, (), [*warnings, *of_litellm])


def _told_of(document: YamlDocument, reading: LitellmReading) -> list[str]:
    if not (reading.fates or document.data.keys() & SECTIONS):
        return []
    from crplugins.config.litellm.report import told_of  # for files of LiteLLM's alone

    return told_of(document, reading)


def _stops_nothing(problem: Problem) -> bool:
    """Whether what is wrong with the text stands in a section of LiteLLM's, where LiteLLM takes it."""
    return bool(problem.path) and problem.path[0] in SECTIONS


def _validate(values: Any) -> tuple[Config | None, list[Problem]]:
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        keys = values.get("keys", ()) if isinstance(values, Mapping) else ()
        return None, [*wrong_values(error), *key_problems(keys)]
    return config, list(config.conflicts())


def _is_below(path: KeyPath, problems: Sequence[Problem]) -> bool:
    """Whether a value was already refused because of its environment variable."""
    return any(path[: len(problem.path)] == problem.path for problem in problems)
