"""Many slow streams through one worker."""

import sys

import pytest

from tests.bench import streams
from tests.long import times

pytestmark = pytest.mark.slow

STREAMS = times(500, 2_000)


@pytest.mark.skipif(sys.platform != "linux", reason="memory and CPU are read from /proc")
def test_many_concurrent_streams_all_complete_in_little_memory():
    outcome = streams.run(STREAMS, frame_delay=0.2)
    assert outcome.complete == STREAMS
    assert outcome.bytes_per_stream < 100_000
