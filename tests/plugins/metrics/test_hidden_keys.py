"""Processes that share their metrics in files: a key that nobody uses any more gives its place away there too."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import pytest

from crplugins.core.processes import METRICS_DIRECTORY_VARIABLE
from crplugins.plugins.metrics.slots import QUIET_SECONDS

HOUR = QUIET_SECONDS


class Worker:
    def __init__(self, process: "subprocess.Popen[str]", told: IO[str], says: IO[str]) -> None:
        self._process, self._told, self._says = process, told, says

    def asked(self, moment: float, key_id: str) -> None:
        self._told.write(f"{moment} {key_id}\n")
        self._told.flush()
        assert self._says.readline() == "counted\n"

    def scrape(self) -> dict[str, float]:
        """900 for each request of a key."""
        self._told.write("scrape\n")
        self._told.flush()
        found: dict[str, float] = json.loads(self._says.readline())
        return {key: value for key, value in found.items() if key != "none"}

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[int], Worker]]:
    with ExitStack() as stack:

        def starts(cap: int) -> Worker:
            command = [sys.executable, "-m", "tests.plugins.metrics.sharing", str(cap)]
            environ = {**os.environ, METRICS_DIRECTORY_VARIABLE: str(tmp_path), "PYTHONPATH": str(Path.cwd())}
            process = stack.enter_context(
                subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            stack.callback(process.kill)
            assert process.stdin is not None
            assert process.stdout is not None
            return Worker(process, process.stdin, process.stdout)

        yield starts


def test_a_quiet_key_is_shown_no_more_and_goes_on_when_it_comes_back(start: Callable[[int], Worker]) -> None:
    worker = start(1)
    worker.asked(0, "first")
    worker.asked(1, "second")
    assert worker.scrape() == {"first": 900, "other": 900}
    worker.asked(HOUR, "second")
    assert worker.scrape() == {"second": 900, "other": 900}
    worker.asked(2 * HOUR, "first")
    assert worker.scrape() == {"first": 1800, "other": 900}


def test_a_key_that_has_a_place_in_another_process_is_shown_with_all_that_was_counted(
    start: Callable[[int], Worker],
) -> None:
    one, other = start(1), start(1)
    one.asked(0, "first")
    other.asked(0, "first")
    assert other.scrape() == {"first": 1800}
    one.asked(HOUR, "second")
    assert one.scrape() == other.scrape() == {"first": 1800, "second": 900}
    other.asked(HOUR, "third")
    assert one.scrape() == other.scrape() == {"second": 900, "third": 900}
    one.kill()
    assert other.scrape() == {"second": 900, "third": 900}


def test_no_more_keys_come_and_go_than_the_files_can_hold(start: Callable[[int], Worker]) -> None:
    worker = start(1)
    for number in range(15):
        worker.asked(number * HOUR, f"key-{number}")
    assert worker.scrape() == {"key-10": 900, "other": 4 * 900}
