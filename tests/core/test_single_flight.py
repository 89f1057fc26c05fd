import asyncio

from crplugins.core.single_flight import SingleFlight


async def test_many_who_want_the_same_at_once_cause_one_piece_of_work() -> None:
    calls: list[int] = []

    async def work() -> int:
        calls.append(1)
        await asyncio.sleep(0)
        return 7

    flight: SingleFlight[int] = SingleFlight()
    assert await asyncio.gather(*(flight.run("key", work) for _ in range(5))) == [7] * 5
    assert len(calls) == 1


async def test_a_caller_that_gives_up_takes_nobody_elses_result_with_it() -> None:
    go = asyncio.Event()

    async def work() -> int:
        await go.wait()
        return 7

    flight: SingleFlight[int] = SingleFlight()
    first = asyncio.create_task(flight.run("key", work))
    second = asyncio.create_task(flight.run("key", work))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    go.set()
    assert await second == 7


async def test_work_that_has_just_ended_is_not_joined() -> None:
    calls: list[int] = []

    async def work() -> int:
        calls.append(1)
        return len(calls)

    flight: SingleFlight[int] = SingleFlight()
    first = flight.start("key", work)
    await asyncio.sleep(0)
    assert first.done()
    assert await flight.run("key", work) == 2
