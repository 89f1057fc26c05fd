"""The folder of shared metrics is set up before prometheus_client is imported, which looks for it then."""

import subprocess
import sys

WITHOUT = """
import sys
sys.modules["prometheus_client"] = None  # an import raises ImportError
from crplugins.core.processes import METRICS_DIRECTORY_VARIABLE
from crplugins.plugins.metrics.directory import multiprocess_directory
import os
with multiprocess_directory() as directory:
    assert os.environ[METRICS_DIRECTORY_VARIABLE] == str(directory)
"""


def test_the_folder_can_be_named_without_prometheus_client():
    subprocess.run([sys.executable, "-c", WITHOUT], check=True)
