"""What `crplugins serve` says on stderr while it starts."""

import logging

import pytest

from crplugins.cli.startup_log import STARTING, StartupLog, enumerated
from crplugins.testing import FrozenClock


class Loads:
    """A gateway of which some models wait for litellm, and some of those for ever."""

    def __init__(self, waiting, lost, clock):
        self._waiting, self._lost, self._clock = waiting, lost, clock

    def waiting(self):
        return self._waiting

    async def loaded(self):
        self._clock.advance(4)
        self._waiting = self._lost


@pytest.fixture
def clock():
    return FrozenClock()


def test_the_first_line_is_there_at_once_and_before_there_is_a_log(capsys, clock):
    StartupLog(clock)
    assert capsys.readouterr().err == STARTING == "crplugins 0.1.0 is starting\n"


async def test_then_it_says_how_long_it_took_and_which_models_wait_for_litellm(caplog, capsys, clock):
    starting = StartupLog(clock)
    clock.advance(0.62)
    starting.listens(["a", "b", "c", "d", "e"])
    await starting.loads(Loads(["a", "b"], ["b"], clock))
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.INFO, "loaded after 0.6 s; a, b, c and 2 more will answer when litellm is imported"),
        (logging.INFO, "litellm is imported after 4.6 s; from now on a answers"),
        (logging.INFO, "b cannot be served, for the reason above"),
    ]


def test_where_nothing_waits_it_says_only_how_long_it_took(caplog, capsys, clock):
    StartupLog(clock).listens()
    assert caplog.messages == ["loaded after 0.0 s"]


def test_few_names_are_all_told():
    assert (enumerated(["a"]), enumerated(["a", "b", "c"])) == ("a", "a, b, c")
