import asyncio
import gc

from starlette.applications import Starlette

from crplugins.asgi.lifespan import FrozenAfterStartup
from crplugins.testing import lifespan


async def test_what_lives_as_long_as_the_process_is_out_of_the_collectors_sight():
    gc.unfreeze()  # what earlier tests have frozen may be freed meanwhile, and would be counted
    before = gc.get_freeze_count()
    loaded = asyncio.Event()

    class App(Starlette):
        async def loaded(self) -> None:
            await loaded.wait()

        def drain(self) -> None: ...

    try:
        async with lifespan(FrozenAfterStartup(App())):
            started = gc.get_freeze_count()
            assert started > before
            late = [[number] for number in range(1000)]
            loaded.set()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert gc.get_freeze_count() >= started + len(late)
    finally:
        gc.unfreeze()
