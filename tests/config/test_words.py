"""The keywords of `Gateway` are the keys of the file."""

from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from crplugins import Gateway
from crplugins.config import Config, ConfigError
from crplugins.config.words import ConfigWords


def choices(annotation: Any) -> set[Any]:
    """The values of a `Literal`, however deep it stands in a union; empty where there is none."""
    if get_origin(annotation) is Literal:
        return set(get_args(annotation))
    return set().union(*map(choices, get_args(annotation)))


def test_the_keywords_are_the_keys_of_the_configuration() -> None:
    assert get_type_hints(ConfigWords).keys() == Config.model_fields.keys()


def test_a_keyword_with_choices_has_those_of_the_configuration() -> None:
    words = get_type_hints(ConfigWords)
    assert {name: choices(words[name]) for name in words} == {
        name: choices(field.annotation) for name, field in Config.model_fields.items()
    }


def test_a_misspelt_keyword_is_refused_with_the_nearest_known_one() -> None:
    with pytest.raises(ConfigError, match="did you mean 'aliases'"):
        Gateway(alaises={})  # type: ignore[call-arg]


def test_only_keywords_are_taken() -> None:
    with pytest.raises(TypeError):
        Gateway([])  # type: ignore[call-arg, misc]


def test_none_stands_for_a_keyword_that_is_not_given() -> None:
    given = Gateway(**dict.fromkeys(get_type_hints(ConfigWords)))  # type: ignore[misc]
    assert given.config == Gateway().config
