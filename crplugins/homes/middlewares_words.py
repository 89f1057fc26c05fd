"""The keywords of a named middleware as a checked configuration."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from crplugins.config import Config, ConfigError, Problem, parse_config
from crplugins.settings.errors import did_you_mean

ANY_MODEL: Final = ({"model_name": "*", "litellm_params": {"model": "openai/*"}},)
"""The model list in front of an app that has its models itself: no name is unknown."""


def read_words(words: Mapping[str, Any], unknown: Iterable[str] = ()) -> Config:
    """The sections in `words`, checked as those of a file are.

    Raises `ConfigError` with every problem; `unknown` are keywords that nobody takes.
    """
    problems = [_unknown(name, words) for name in unknown]
    try:
        given = {name: value for name, value in words.items() if value is not None}
        config = parse_config({"model_list": ANY_MODEL, **given})
    except ConfigError as error:
        raise ConfigError([*problems, *error.problems]) from None
    if problems:
        raise ConfigError(problems)
    return config


def missing(name: str) -> ConfigError:
    return ConfigError([Problem((name,), "is missing")])


def _unknown(name: str, words: Iterable[str]) -> Problem:
    known = sorted(words)
    choice = f", known are {', '.join(known)}" if known else ", nothing is configured here"
    return Problem((name,), f"unknown key{did_you_mean(name, known) or choice}")
