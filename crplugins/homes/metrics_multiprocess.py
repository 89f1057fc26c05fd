"""The folder in which several workers of one server add up their metrics.

prometheus_client looks for it when it is imported, so workers must be started with it named. Nothing here imports
prometheus_client.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crplugins.plugins.metrics_workers import DIRECTORY_VARIABLE


@contextmanager
def multiprocess_directory() -> Iterator[Path]:
    """A folder for the workers that are started inside the block, named in their environment.

        with multiprocess_directory():
            supervisor.run()

    It is new, private and this server's alone: two servers with one folder would count each other's requests. It is
    emptied by who starts the workers, here and at the end, never by a worker, which would drop what the others have
    counted. A folder that the environment names already is used as it is, and left.
    """
    named = os.environ.get(DIRECTORY_VARIABLE)
    if named:
        yield Path(named)
        return
    directory = tempfile.mkdtemp(prefix="crplugins-metrics-")
    os.environ[DIRECTORY_VARIABLE] = directory
    try:
        yield Path(directory)
    finally:
        os.environ.pop(DIRECTORY_VARIABLE, None)
        shutil.rmtree(directory, ignore_errors=True)
