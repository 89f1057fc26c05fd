"""A deadline that moves at each token sets no timer for it."""

import asyncio

from crplugins.handlers.http.deadline import NEVER, MovingDeadline


class Loop:
    """A clock and timers that a test turns."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, object]] = []
        self.set = 0

    def time(self) -> float:
        return self.now

    def call_at(self, at, callback):
        self.set += 1
        timer = Timer(self, at, callback)
        self.timers.append(timer)
        return timer

    def turn(self, to: float) -> None:
        while due := sorted((timer for timer in self.timers if timer.at <= to), key=lambda timer: timer.at):
            self.timers.remove(due[0])
            self.now = due[0].at
            due[0].callback()
        self.now = to


class Timer:
    def __init__(self, loop: Loop, at: float, callback) -> None:
        self.loop, self.at, self.callback = loop, at, callback

    def cancel(self) -> None:
        if self in self.loop.timers:
            self.loop.timers.remove(self)


def deadline(loop: Loop) -> tuple[MovingDeadline, list[float]]:
    missed: list[float] = []
    return MovingDeadline(loop, lambda: missed.append(loop.now)), missed  # type: ignore[arg-type]


def test_it_is_missed_once_at_its_time() -> None:
    loop = Loop()
    made, missed = deadline(loop)
    made.move(5)
    loop.turn(100)
    assert missed == [5]


def test_moving_it_later_a_thousand_times_sets_no_timer() -> None:
    loop = Loop()
    made, missed = deadline(loop)
    for at in range(10, 1010):
        made.move(at)
    assert loop.set == 1
    loop.turn(1008)
    assert not missed
    loop.turn(1009)
    assert missed == [1009]
    assert loop.set == 2


def test_moving_it_earlier_holds() -> None:
    loop = Loop()
    made, missed = deadline(loop)
    made.move(600)
    made.move(2)
    loop.turn(700)
    assert missed == [2]


def test_without_a_deadline_or_after_its_end_nothing_is_missed() -> None:
    loop = Loop()
    made, missed = deadline(loop)
    made.move(5)
    made.move(NEVER)
    loop.turn(10)
    made.move(20)
    made.cancel()
    loop.turn(30)
    assert not missed
    assert not loop.timers


async def test_it_works_with_the_loops_own_timers() -> None:
    missed = asyncio.Event()
    loop = asyncio.get_running_loop()
    made = MovingDeadline(loop, missed.set)
    made.move(loop.time() + 60)
    made.move(loop.time() + 0.01)
    async with asyncio.timeout(30):
        await missed.wait()
