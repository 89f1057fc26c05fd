"""The folder of shared metrics is set up before prometheus_client is imported, which looks for it then."""

import os
import subprocess
import sys

from crplugins.core.processes import METRICS_DIRECTORY_VARIABLE

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


UNUSABLE = """
from crplugins.plugins.metrics.plugin import Metrics
from crplugins.settings.errors import ConfigError
try:
    Metrics()
except ConfigError as error:
    print(error)
"""


def test_a_folder_that_is_not_there_is_named(tmp_path):
    environment = {**os.environ, METRICS_DIRECTORY_VARIABLE: str(tmp_path / "none")}
    done = subprocess.run([sys.executable, "-c", UNUSABLE], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == (
        f"metrics: PROMETHEUS_MULTIPROC_DIR names {tmp_path}/none, which is no folder that can be written to\n"
    )


ROOM = """
import os
from pathlib import Path
from crplugins.core.processes import METRICS_DIRECTORY_VARIABLE
from crplugins.plugins.metrics.plugin import Metrics
Metrics(["m"])
for file in Path(os.environ[METRICS_DIRECTORY_VARIABLE]).iterdir():
    found = file.stat()
    print(file.name.rpartition("_")[0], found.st_size > 60_000, found.st_blocks * 512 >= found.st_size)
"""


def test_the_files_of_a_process_have_their_room_on_the_disk_from_the_start(tmp_path):
    """Without it, and with the disk full, the next new series would kill the process."""
    environment = {**os.environ, METRICS_DIRECTORY_VARIABLE: str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", ROOM], env=environment, capture_output=True, text=True, check=True)
    kinds = ("counter", "gauge_livesum", "gauge_mostrecent", "histogram")
    assert sorted(done.stdout.splitlines()) == [f"{kind} True True" for kind in kinds]
