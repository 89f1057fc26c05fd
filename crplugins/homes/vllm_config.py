"""The configuration file as it is meant in front of vLLM, which has its models itself."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from crplugins.config import Config, ConfigError, Problem, parse_config
from crplugins.config.load import CONFIG_VARIABLE
from crplugins.plugins.metrics.directory import DIRECTORY_VARIABLE
from crplugins.settings.document import Document, read_document

METRICS_PATH: Final = "/crplugins/metrics"
"""Where our metrics are if the file does not say; vLLM has its own under /metrics."""

_ANY_MODEL: Final = ({"model_name": "*", "litellm_params": {"model": "hosted_vllm/*"}},)

logger = logging.getLogger("crplugins.vllm")


def read_config(environ: Mapping[str, str]) -> Config:
    """The file that `CRPLUGINS_CONFIG` names. Logs what of it means nothing here. Raises `ConfigError`."""
    path = environ.get(CONFIG_VARIABLE)
    if not path:
        raise ConfigError([Problem((), f"{CONFIG_VARIABLE} names no file")])
    document = _document(Path(path))
    problems = [*document.problems, *_empty_keys(document.data)]
    try:
        config = parse_config(_with_defaults(document.data), environ)
    except ConfigError as error:
        raise document.source.error([*problems, *error.problems]) from None
    if problems:
        raise document.source.error(problems)
    _warn(document.data, config, environ)
    return config.read_from(document.source, config.warnings)


def model_names(words: Config) -> list[str]:
    """The names that the file knows: of `model_list`, else those it limits."""
    listed = [entry.model_name for entry in words.model_list if entry.model_name != "*"]
    return listed or [*words.limits.per_model, *words.limits.per_key_and_model]


def _document(path: Path) -> Document:
    try:
        return read_document(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError([Problem((), f"cannot be read ({reason})")], str(path)) from None


def _empty_keys(data: Mapping[str, Any]) -> Iterator[Problem]:
    """`keys:` with nothing behind it would let everybody in, as no `keys` at all does."""
    if "keys" in data and data["keys"] is None:
        yield Problem(("keys",), "must not be empty")


def _with_defaults(data: Mapping[str, Any]) -> dict[str, Any]:
    """What is not said, as it should be in front of vLLM."""
    words = {"model_list": _ANY_MODEL, **data}
    metrics = data.get("metrics")
    if isinstance(metrics, Mapping):
        words["metrics"] = {"path": METRICS_PATH, **metrics}
    return words


def _warn(data: Mapping[str, Any], config: Config, environ: Mapping[str, str]) -> None:
    for warning in config.warnings:
        logger.warning("%s", warning)
    if "keys" not in data:
        logger.warning("no keys are configured: whoever reaches vLLM may use it")
    bounds = data.keys() & {"keys", "limits", "budgets"}
    if bounds and config.limits.store == "memory" and environ.get(DIRECTORY_VARIABLE):  # vLLM names it to all of them
        logger.warning(
            "limits.store is memory: of several API servers each limits on its own; sqlite:///limits.db is one for all"
        )
    if config.admin is not None:
        logger.warning("admin is ignored: only crplugins' own gateway serves the admin API")
