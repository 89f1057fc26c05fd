"""Sections that nobody has written are what they would be if they had been read."""

import pytest

from crplugins.config import parse_config
from crplugins.config.schema import Config
from crplugins.settings.section import Section


def sections(kind=Section):
    for each in kind.__subclasses__():
        yield each
        yield from sections(each)


WITHOUT_KEYS = sorted(
    {each for each in sections() if not any(field.is_required() for field in each.model_fields.values())},
    key=lambda each: each.__qualname__,
)


@pytest.mark.parametrize("section", WITHOUT_KEYS, ids=lambda each: each.__qualname__)
def test_a_section_without_keys_is_the_same_as_an_empty_one_that_was_read(section):
    try:
        read = section.model_validate({})
    except ValueError:
        pytest.skip("it must not be empty, so it is nobody's default")
    assert section.without_keys() == read


def test_a_file_without_sections_is_one_with_empty_ones():
    names = ("limits", "budgets", "usage", "server")
    assert parse_config({name: {} for name in names}).model_dump() == Config().model_dump()
