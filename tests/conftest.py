"""What tests of every folder use: no blocked event loop, recordings of real providers, any app on a real socket."""

import asyncio
import gc
import json
import logging
import os
import shlex
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn.server
from _pytest.runner import runtestprotocol
from hypothesis import HealthCheck, settings
from starlette.types import ASGIApp

from crplugins.core.log_lines import REQUEST_ID
from crplugins.handlers.litellm.loading import ENVIRONMENT
from crplugins.testing import Cassette, load_cassettes
from tests.long import times
from tests.postgresql_setup import postgres  # noqa: F401  # one server for the tests of every folder
from tests.rehearsals import share_rehearsals
from tests.trust import share_trust
from tests.warm import WarmPython
from tests.watch import Watch, watch

CHECKOUT = Path(__file__).parents[1]
CASSETTES = Path(os.environ.get("CASSETTES") or CHECKOUT.parent / "shared" / "cassettes")

# No deadline: machines are busy, and each example is bounded anyway. The fixtures that every test has hold nothing that
# an example could change.
settings.register_profile(
    "crplugins",
    max_examples=times(60, 5_000),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("crplugins")

# Until all tests are collected, nearly nothing of what is made is garbage: looking for it took an eighth of that time.
gc.disable()

# Under nohup SIGHUP would be ignored by all that the tests start, and tell nobody to reload.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# litellm is imported by many tests themselves, and downloads nothing then either.
for name, value in ENVIRONMENT.items():
    os.environ.setdefault(name, value)

# Hundreds of tests write durably, and a busy disk takes a tenth of a second for that. Tests kill what writes to a file,
# never the machine, so their folders are in memory where there is room; a run leaves 400 MB.
_MEMORY = Path("/dev/shm")  # pytest makes a folder there that only its user enters
if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > 4 * 2**30:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))

# Hundreds of processes start with the same modules: each is compiled once, also where bytecode is not wanted otherwise.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


class _OftenAwake:
    """asyncio as uvicorn's server sees it in these tests: it looks a hundred times a second whether it may end, not ten.

    Its shutdown does not begin to look before it has slept once; a thousand servers would sleep for two minutes.
    """

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    @staticmethod
    async def sleep(seconds: float) -> None:
        await asyncio.sleep(seconds / 10)


uvicorn.server.asyncio = _OftenAwake()

share_rehearsals()
share_trust()

Serve = Callable[..., AbstractAsyncContextManager[str]]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config, specs: list[Any]) -> None:
    """Test processes are forked where the tests are imported already."""
    arguments = json.dumps([str(config.invocation_params.dir / each) for each in config.args])
    python = WarmPython("tests.collected", environ={"COLLECTED": arguments})
    for spec in specs:
        if spec.popen and not spec.python:
            spec.python = shlex.join(python.command)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """The process that only hands out tests comes here, too."""
    gc.disable()  # also where this file had been imported before the fork
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow files begin first, or one process would be left alone with the last of them."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    _set_aside_what_stays(None)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Of a test that passes, one process of xdist tells the other that alone, and what took its time.

    Each of pytest's five reports is written, sent and read in a millisecond: longer than many tests take.
    """
    option = item.config.option
    if not hasattr(item.config, "workerinput") or option.verbose > 0 or option.xmlpath:
        return None
    reports = runtestprotocol(item, log=False, nextitem=nextitem)
    passed = all(report.passed for report in reports)
    for report in reports:
        if not passed or report.when == "call" or report.sections or report.duration > 0.005:
            item.ihook.pytest_runtest_logreport(report=report)
    return True


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.path != _set_aside_for.path:  # another file: all that the one before has used is ended
        _set_aside_what_stays(item.path)


def pytest_runtest_teardown(item: pytest.Item) -> None:
    if len(sys.modules) > 1.25 * _set_aside_for.modules:  # litellm, its proxy: the first test that needs one loads it
        _set_aside_what_stays(item.path)


class _SetAside:
    """For which file, and how many modules there were."""

    path: Path | None = None
    modules = 0


_set_aside_for = _SetAside()


def _set_aside_what_stays(path: Path | None) -> None:
    """Modules live to the end, and what a file has left mostly too; walking through them took the garbage collector,
    and tests that ask for a full collection, a tenth of all the time."""
    gc.collect()
    gc.freeze()
    _set_aside_for.path, _set_aside_for.modules = path, len(sys.modules)


@pytest.fixture
def blocked(blockbuster: Watch) -> list[str]:
    """The blocking calls found so far. A test that provokes some clears it."""
    return blockbuster.blocked


@pytest.fixture(autouse=True)
def blockbuster() -> Iterator[Watch]:
    """Fails a test in which code of ours blocks the event loop, even if the error raised there has been muted."""
    blocking = watch()
    blocking.blocked = blocked = []
    blocking.activate()
    yield blocking
    blocking.deactivate()
    blocking.forget()
    assert not blocked, f"the event loop was blocked by {', '.join(blocked)}"


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Fails a test behind which the log would still name its request, as every line of a later test would be about it.

    And one behind which the process would log more, or less, than it did: later tests count what that costs.
    """
    root = logging.getLogger()
    request, level = REQUEST_ID.get(), root.level
    yield
    left, root.level = root.level, level
    assert REQUEST_ID.get() == request, "a request is served in the caller's own context"
    assert left == level, "the level of the root logger is not what it was: a framework has set up its own log"


@pytest.fixture(scope="session")
def cassettes() -> dict[str, Cassette]:
    """The recordings by id. `CASSETTES` names another folder than the one beside the checkout."""
    if not (CASSETTES / "manifest.json").exists():
        pytest.skip(f"no recordings in {CASSETTES}; set CASSETTES to their folder")
    return load_cassettes(CASSETTES)


@pytest.fixture
def serve() -> Serve:
    """`async with serve(app) as url:` runs any ASGI app under uvicorn on a free port, in the test's own event loop."""
    return serving


@asynccontextmanager
async def serving(app: ASGIApp, **options: object) -> AsyncIterator[str]:
    """The base URL, without a slash at the end. `options` are uvicorn.Config's.

    Raises RuntimeError if the app reports that it cannot start. Requests still running at the end are cancelled after
    a second. A connection is kept longer than a client on a busy machine takes between two requests.
    """
    defaults = {"port": 0, "log_config": None, "ws": "none", "timeout_graceful_shutdown": 1, "timeout_keep_alive": 75}
    server = uvicorn.Server(uvicorn.Config(app, **(defaults | options)))  # type: ignore[arg-type]
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    try:
        await server.startup()  # not serve(), which takes over the signals and polls for its end
    except SystemExit:
        raise RuntimeError("the app could not start") from None
    host, port = server.servers[0].sockets[0].getsockname()
    try:
        yield f"http://{host}:{port}"
    finally:
        await server.shutdown()
