"""Two thousand slow streams through one worker."""

import sys

import pytest

from tests.bench import streams


@pytest.mark.skipif(sys.platform != "linux", reason="memory and CPU are read from /proc")
def test_2000_concurrent_streams_all_complete_in_little_memory():
    outcome = streams.run(2000, frame_delay=0.2)
    assert outcome.complete == 2000
    assert outcome.bytes_per_stream < 100_000
