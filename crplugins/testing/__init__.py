"""Test doubles for plugin authors: a scripted provider on a socket, an ASGI driver, a clock that stands still.

The provider needs h11 (`pip install 'crplugins[testing]'`; uvicorn brings it too), the rest nothing further: so it is
imported when it is asked for.
"""

from typing import TYPE_CHECKING

from crplugins.handlers.wires.completion import usage_object
from crplugins.testing.answer import Answer
from crplugins.testing.cassettes import Cassette, load_cassettes
from crplugins.testing.clock import FrozenClock
from crplugins.testing.contract import PluginContract
from crplugins.testing.drive import AppEndedError, Drive, drive
from crplugins.testing.lifespan import LifespanError, lifespan
from crplugins.testing.received import ReceivedRequest
from crplugins.testing.refusal import error_body
from crplugins.testing.script import Script

if TYPE_CHECKING:
    from crplugins.testing.server import FakeProvider as FakeProvider

__all__ = [
    "Answer",
    "AppEndedError",
    "Cassette",
    "Drive",
    "FakeProvider",
    "FrozenClock",
    "LifespanError",
    "PluginContract",
    "ReceivedRequest",
    "Script",
    "drive",
    "error_body",
    "lifespan",
    "load_cassettes",
    "usage_object",
]


def __getattr__(name: str) -> object:
    if name != "FakeProvider":
        raise AttributeError(f"module 'crplugins.testing' has no attribute '{name}'")
    try:
        from crplugins.testing.server import FakeProvider
    except ModuleNotFoundError as error:
        if error.name != "h11":
            raise
        raise ImportError("FakeProvider needs: pip install 'crplugins[testing]'", name="h11") from error
    globals()[name] = FakeProvider
    return FakeProvider
