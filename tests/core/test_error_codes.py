"""One list of the codes that clients read: no part of the package has another one."""

import ast
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

import crplugins
from crplugins.core.error_codes import ERROR_CODES, error_table
from crplugins.core.errors import broken_off, model_not_found, no_completion, shutting_down, unparsable_body
from crplugins.core.outcome import ERROR_TYPES

PACKAGE = Path(crplugins.__file__).parent
LISTED = [code for each in ERROR_CODES for code in each.code.split(", ")]


def codes_in_use() -> set[str]:
    """The literal `code=` of every call in the package, the fakes of `crplugins.testing` left out."""
    found: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        if "testing" in path.relative_to(PACKAGE).parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "code" and isinstance(node.value, ast.Constant):
                found.add(str(node.value.value))
    return {code for code in found if not code.isdigit() and code != "None"}


def test_every_code_in_use_is_listed() -> None:
    unlisted = {code for code in codes_in_use() if not any(fnmatchcase(code, listed) for listed in LISTED)}
    assert unlisted == set()


def test_each_code_is_listed_once_with_an_error_type_that_exists() -> None:
    assert len(set(LISTED)) == len(LISTED)
    assert {each.error_type for each in ERROR_CODES} <= set(ERROR_TYPES)
    assert all(f"`{code}`" in error_table() for code in LISTED)


@pytest.mark.parametrize("error", [broken_off(), no_completion(), shutting_down(), model_not_found("m")])
def test_the_list_says_what_the_errors_say(error) -> None:
    [listed] = [each for each in ERROR_CODES if error.error.code in each.code.split(", ")]
    assert str(error.status) in listed.status
    assert error.error_type == listed.error_type


def test_an_error_without_a_code_needs_no_line() -> None:
    assert unparsable_body().error.code is None
