"""Sections that nobody has written are what they would be if they had been read."""

import subprocess
import sys

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


BUILT = "; print(type(section.__pydantic_validator__).__name__)"


@pytest.mark.parametrize(
    "code",
    [
        "import crplugins.keys.sql; from crplugins.keys.policy import PolicySection as section",
        "import crplugins.keys.jwt; from crplugins.keys.policy import PolicySection as section",
        "from crplugins.keys.file.entry import FileEntry as section",
        "from crplugins.keys.service import KeyService, NewKey as section; KeyService(None)",
        "from crplugins.keys.service import KeyService, KeyEntry as section; KeyService(None)",
    ],
)
def test_what_reads_keys_while_requests_wait_is_built_before(code):
    """A validator that is built late reads the disk for pydantic's plugins, and takes many milliseconds."""
    said = subprocess.run([sys.executable, "-c", code + BUILT], capture_output=True, text=True, check=True).stdout
    assert said == "SchemaValidator\n"
