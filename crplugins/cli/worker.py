"""What each process of `crplugins serve --workers N` runs: uvicorn's children import `create_app` from here."""

import atexit
from contextlib import ExitStack

from crplugins.asgi.lifespan import FrozenAfterStartup
from crplugins.cli.logs import logging_to_stderr
from crplugins.homes.gateway.app import create_app as create_gateway


def create_app() -> FrozenAfterStartup:
    """The gateway, with its logs going to stderr until the process ends."""
    gateway = create_gateway()
    stack = ExitStack()
    stack.enter_context(logging_to_stderr(gateway.config))
    atexit.register(stack.close)
    return FrozenAfterStartup(gateway)
