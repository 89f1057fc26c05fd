"""What each process of `crplugins serve --workers N` runs."""

import atexit
from contextlib import ExitStack

from crplugins.cli.logs import logging_to_stderr
from crplugins.homes.gateway import Gateway
from crplugins.homes.gateway import create_app as create_gateway


def create_app() -> Gateway:
    """The gateway, with its logs going to stderr until the process ends."""
    gateway = create_gateway()
    stack = ExitStack()
    stack.enter_context(logging_to_stderr(gateway.config))
    atexit.register(stack.close)
    return gateway
