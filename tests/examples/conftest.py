"""The example packages as pip installs them."""

import subprocess
import sys
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
PACKAGES = {"cache_package": "exact_cache", "plugin_package": "output_ceiling", "redactor_package": "pii_redactor"}


@pytest.fixture(scope="package")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that has them all; nothing is downloaded, and the checkout gets no new files."""
    folder = tmp_path_factory.mktemp("installed")
    leave_out = ignore_patterns("__pycache__", "dist", "*.egg-info")
    sources = [copytree(EXAMPLES / package, folder / package, ignore=leave_out) for package in PACKAGES]
    offline = ["--no-build-isolation", "--no-deps", "--no-index", "--no-compile", "--disable-pip-version-check"]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", *offline, "--target", folder / "site", *sources], check=True
    )
    return folder / "site"
