"""Reads a configuration: find the file, expand the environment, check every key, then every value."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from crplugins.config.doubts import doubts
from crplugins.config.litellm_file import stops_nothing, translated
from crplugins.config.schema import Config, key_problems
from crplugins.settings.document import read_document
from crplugins.settings.environment import Expansion
from crplugins.settings.errors import ConfigError, KeyPath, Problem, Source
from crplugins.settings.section import KeyCheck, wrong_values

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


def load_config(path: str | Path, environ: Mapping[str, str] = os.environ) -> Config:
    """The configuration in the YAML file `path`. Imports the modules its `plugins` name.

    Raises `ConfigError` with every problem found, or if the file cannot be read.
    """
    document = read_document(_text_of(Path(path)), str(path))
    return _build(document.data, document.source, document.problems, environ)


def parse_config(mapping: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> Config:
    """The same from Python: the keys of the file, None for one that is not given.

    Raises `ConfigError`, without lines.
    """
    given = {key: value for key, value in mapping.items() if value is not None}
    return _build(given, Source(), (), environ)


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        reason = "there is no such file"
    except OSError as error:
        reason = f"cannot be read ({error.strerror})"
    except UnicodeDecodeError:
        reason = "is not UTF-8 text"
    raise ConfigError([Problem((), reason)], str(path))


def _build(data: Mapping[str, Any], source: Source, found: Sequence[Problem], environ: Mapping[str, str]) -> Config:
    litellm = translated(data, environ)
    keys = KeyCheck()
    expansion = Expansion(litellm.environ)
    values = expansion.expand(keys.checked(litellm.data, Config))
    problems = [problem for problem in found if not stops_nothing(problem)]
    problems += [*keys.problems, *expansion.problems]
    config, wrong = _validate(values)
    problems += [problem for problem in wrong if not _is_below(problem.path, expansion.problems)]
    if config is None or problems:
        raise source.error([litellm.placed(problem) for problem in problems])
    warnings = [*litellm.warnings, *keys.warnings, *expansion.warnings, *doubts(config, environ)]
    of_litellm = [
        f"{problem.sentence(None)}; what LiteLLM's proxy reads is not judged here"
        for problem in found
        if stops_nothing(problem)
    ]
    return config.read_from(source, (*warnings, *of_litellm))


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
