"""A call in a thread that the end of the process does not wait for."""

import asyncio
import subprocess
import sys
import threading

import pytest

from crplugins.core.daemon_thread import in_daemon_thread


async def test_its_result_and_its_error_are_those_of_the_call():
    assert await in_daemon_thread(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await in_daemon_thread(divmod, 7, 0)


async def test_whoever_is_cancelled_waits_no_longer_and_what_comes_later_disturbs_nobody():
    go_on, ended = threading.Event(), threading.Event()

    def call():
        go_on.wait(10)
        ended.set()

    waiting = asyncio.create_task(in_daemon_thread(call))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    go_on.set()
    assert await asyncio.to_thread(ended.wait, 10)
    await asyncio.sleep(0.01)


def test_a_process_ends_before_the_call_does():
    code = (
        "import asyncio, time; from crplugins.core.daemon_thread import in_daemon_thread\n"
        "async def main(): task = asyncio.create_task(in_daemon_thread(time.sleep, 60)); await asyncio.sleep(0.05)\n"
        "asyncio.run(main())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
