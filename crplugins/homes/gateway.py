"""Gateway: the plugins around the handlers, as one ASGI app.

    client -> PluginMiddleware [Auth, RequestGuard, your own] -> ChatCompletions -> Routes -> direct | litellm -> upstream
"""

import asyncio
import os
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from starlette.types import ASGIApp, Receive, Scope, Send

from crplugins.config import Config, load_config, parse_config
from crplugins.core.middleware import PluginMiddleware
from crplugins.core.plugin import Plugin
from crplugins.handlers.endpoint import ChatCompletions
from crplugins.handlers.routes import Routes
