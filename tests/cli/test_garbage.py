import gc

from starlette.applications import Starlette

from crplugins.asgi.lifespan import FrozenAfterStartup
from crplugins.testing import lifespan


async def test_what_lives_as_long_as_the_process_is_out_of_the_collectors_sight():
    before = gc.get_freeze_count()
    try:
        async with lifespan(FrozenAfterStartup(Starlette())):
            assert gc.get_freeze_count() > before
    finally:
        gc.unfreeze()
