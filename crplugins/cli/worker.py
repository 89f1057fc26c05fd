"""The app of each process of `crplugins serve --workers N`: uvicorn's children import `create_app` by this name."""

import atexit
from contextlib import ExitStack

from crplugins.asgi.lifespan import FrozenAfterStartup
from crplugins.cli.logs import logging_to_stderr
from crplugins.homes.gateway.app import create_app as create_gateway


def create_app() -> FrozenAfterStartup:
    """The gateway, which logs to stderr until the process ends."""
    gateway = create_gateway()
    stack = ExitStack()
    stack.enter_context(logging_to_stderr(gateway.config))
    atexit.register(stack.close)
    return FrozenAfterStartup(gateway)
