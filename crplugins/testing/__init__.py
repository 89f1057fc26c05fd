"""Test doubles for plugin authors: a scripted provider on a socket, an ASGI driver, a clock that stands still."""

from crplugins.testing.answer import Answer
from crplugins.testing.cassettes import Cassette, load_cassettes
from crplugins.testing.clock import FrozenClock
from crplugins.testing.contract import PluginContract
from crplugins.testing.drive import AppEndedError, Drive, drive
from crplugins.testing.lifespan import LifespanError, lifespan
from crplugins.testing.model import usage_object
from crplugins.testing.received import ReceivedRequest
from crplugins.testing.refusal import error_body
from crplugins.testing.script import Script
from crplugins.testing.server import FakeProvider

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
