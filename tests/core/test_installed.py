"""Which version of a package is installed."""

from importlib import metadata

import pytest

from crplugins.core.installed import installed_version


@pytest.mark.parametrize("package", ["crplugins", "litellm", "genai-prices", "starlette"])
def test_the_version_is_that_which_the_package_says(package):
    assert installed_version(package) == metadata.version(package)


def test_a_package_that_is_not_installed_has_none():
    assert installed_version("no-such-package-of-anybody") is None
