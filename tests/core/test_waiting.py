import asyncio

from crplugins.core.waiting import stopped


async def test_a_task_has_ended_when_it_is_stopped_however_it_ends() -> None:
    async def tidies_up() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            raise RuntimeError("it could not be tidied up")

    task = asyncio.create_task(tidies_up())
    await asyncio.sleep(0)
    await stopped(task)
    assert task.done()
    assert isinstance(task.exception(), RuntimeError)
    await stopped(task)
    await stopped(None)
