"""Gateway: the plugins around the handlers, as one ASGI app.

client -> PluginMiddleware [Auth, RequestGuard, your own, Upstreams] -> ChatCompletions -> direct | litellm -> upstream
"""

import os
from pathlib import Path
from typing import Any, Self

from starlette.types import ASGIApp, Receive, Scope, Send

import crplugins
from crplugins.config import Config, load_config, parse_config
from crplugins.core.middleware import PluginMiddleware
from crplugins.core.plugin import Plugin
from crplugins.core.wire import CHAT_PATH
from crplugins.handlers.endpoint import ChatCompletions
from crplugins.homes.upstreams import Upstreams
from crplugins.homes.web import Web
from crplugins.plugins.auth import PUBLIC_PATHS, Auth, InlineKey
from crplugins.plugins.guard import RequestGuard
