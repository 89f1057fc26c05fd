"""Imported by the warm Python of LiteLLM's proxies, behind the proxy: what each of them would import and build once it starts.

Two thirds of the CPU of a start: FastAPI builds what it knows of a route when a request first asks for one, and the proxy
imports its router, its tools and our plugins with its configuration.
"""

import contextlib
import importlib

for name in (
    "uvicorn.lifespan.on", "uvicorn.loops.uvloop", "uvicorn.protocols.http.httptools_impl",
    "uvicorn.protocols.websockets.auto", "anyio._backends._asyncio",
    "opentelemetry.sdk.trace.export.in_memory_span_exporter",
    "litellm.router_rust.core", "litellm.integrations.otel.logger", "litellm.integrations.otel.presets",
    "litellm.integrations.websearch_interception.handler", "litellm.proxy.mcp_server.mcp_server_manager",
    "litellm.proxy.mcp_server.semantic_tool_filter", "litellm.proxy.pass_through_endpoints.llm_passthrough_endpoints",
    # Not homes.litellm_proxy, which reads its configuration as it is imported.
    "crplugins.config", "crplugins.homes.gateway.app", "crplugins.homes.litellm_objects", "crplugins.homes.price_list",
    "crplugins.plugins.auth",
):  # fmt: skip
    with contextlib.suppress(ImportError):  # of another release
        importlib.import_module(name)

from litellm.proxy.proxy_server import app  # noqa: E402

for route in app.routes:
    route.matches({"type": "http", "method": "GET", "path": "/nowhere", "root_path": "", "headers": []})
