"""Imported by the warm Python that the test processes of xdist are forked from: all that is tested, collected once.

Two thirds of what each of them takes to begin are imports: fifteen seconds of CPU where nothing has been compiled yet.
"""

import contextlib
import io
import json
import os

import pytest

with contextlib.redirect_stdout(io.StringIO()):  # what is wrong with a test they find and say again
    pytest.main([*json.loads(os.environ["COLLECTED"]), "--collect-only", "-qq", "-n", "0", "-p", "no:cacheprovider"])
