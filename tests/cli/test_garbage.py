import asyncio
import gc

from starlette.applications import Starlette

from crplugins.asgi.lifespan import FrozenAfterStartup
from crplugins.testing import lifespan


def looked_at(made):
    """How many of these a full collection would look at."""
    seen = set(map(id, gc.get_objects()))
    return sum(id(each) in seen for each in made)


async def test_what_lives_as_long_as_the_process_is_out_of_the_collectors_sight():
    loaded = asyncio.Event()

    class App(Starlette):
        async def loaded(self) -> None:
            await loaded.wait()

        def drain(self) -> None: ...

    early = [[number] for number in range(1000)]
    assert looked_at(early) == 1000
    try:
        async with lifespan(FrozenAfterStartup(App())):
            assert looked_at(early) == 0
            late = [[number] for number in range(1000)]
            assert looked_at(late) == 1000
            loaded.set()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert looked_at(late) == 0
    finally:
        gc.unfreeze()
