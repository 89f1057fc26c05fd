import asyncio
from typing import Any

import pytest

from crplugins.testing import LifespanError, lifespan


def app_that(*answers: dict[str, Any]) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for answer in answers:
            message = await receive()
            steps.append(message["type"])
            scope["state"]["step"] = message["type"]
            await send(answer)

    steps: list[str] = []
    app.steps = steps  # type: ignore[attr-defined]
    return app


async def test_startup_runs_before_the_block_and_shutdown_after_it() -> None:
    app = app_that({"type": "lifespan.startup.complete"}, {"type": "lifespan.shutdown.complete"})
    async with lifespan(app) as state:
        assert app.steps == ["lifespan.startup"]
        assert state == {"step": "lifespan.startup"}
    assert app.steps == ["lifespan.startup", "lifespan.shutdown"]


async def test_a_failed_step_says_what_the_app_said() -> None:
    with pytest.raises(LifespanError, match="no database"):
        async with lifespan(app_that({"type": "lifespan.startup.failed", "message": "no database"})):
            pass
    app = app_that({"type": "lifespan.startup.complete"}, {"type": "lifespan.shutdown.failed"})
    with pytest.raises(LifespanError, match="shutdown failed"):
        async with lifespan(app):
            pass


async def test_an_app_that_returns_or_raises_is_told_apart() -> None:
    async def raises(scope: Any, receive: Any, send: Any) -> None:
        raise LookupError("mine")

    with pytest.raises(LifespanError, match="without an answer"):
        async with lifespan(app_that()):
            pass
    with pytest.raises(LookupError, match="mine"):
        async with lifespan(raises):
            pass


async def test_a_step_that_hangs_is_bounded_and_its_app_cancelled() -> None:
    cancelled = asyncio.Event()

    async def hangs(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with pytest.raises(TimeoutError, match="lifespan startup"):
        async with lifespan(hangs, within=0.01):
            pass
    assert cancelled.is_set()
