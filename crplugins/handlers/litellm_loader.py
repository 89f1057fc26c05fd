"""Loads litellm: once per process, at start-up and off the event loop, because the import takes 2.5 s and 170 MB.

Nothing of crplugins imports litellm at module level; everybody who needs it comes here.
"""

import asyncio
import importlib
import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from inspect import isawaitable
from types import ModuleType
from typing import Any, Final

from crplugins.handlers.litellm_warmup import first_calls
from crplugins.handlers.litellm_worker import settle

# Read by litellm while it is imported. Each of them keeps it from asking the internet for tables that it also ships.
ENVIRONMENT: Final = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_LOCAL_BLOG_POSTS": "True",
    "LITELLM_LOCAL_POLICY_TEMPLATES": "true",
    "LITELLM_LOCAL_AUTOROUTER_PRESETS": "True",
    "LITELLM_LOG": "ERROR",
}
_LOGGERS: Final = ("LiteLLM", "LiteLLM Proxy", "LiteLLM Router")

_loading = threading.Lock()
_warm = False
_users = 0


def load_litellm() -> ModuleType:
    """The litellm module. Blocks for seconds the first time; ImportError without the `gateway` extra."""
    with _loading:
        return sys.modules.get("litellm") or _import()


async def open_litellm() -> ModuleType:
    """litellm, loaded and past its first calls, which cost half a second of further imports and pydantic schemas.

    Each call is matched by one of `close_litellm`.
    """
    global _users
    litellm = await asyncio.to_thread(_load_and_warm)
    _users += 1
    return litellm


async def close_litellm() -> None:
    """Close litellm's pooled connections, which are the process's own, once nobody uses it any more."""
    global _users
    _users -= 1
    if _users == 0:
        litellm: Any = load_litellm()
        await settle()
        await litellm.close_litellm_async_clients()
        await _close_sdk_clients(litellm)
        litellm.in_memory_llm_clients_cache.flush_cache()
        await _close_shared_client(litellm)


@contextmanager
def quiet() -> Iterator[None]:
    """No warning is shown, or raised where the host has made errors of them, while litellm imports parts of itself.

    Not on the event loop: warnings are silenced for the whole process, and others may be waited for.
    """
    with _loading, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # comments of pydantic's on litellm's types are not the operator's to act on
        yield


async def _close_sdk_clients(litellm: Any) -> None:
    """Close the clients of OpenAI's SDK, which litellm's own clean-up passes by in older releases (1.96)."""
    for client in list(litellm.in_memory_llm_clients_cache.cache_dict.values()):
        close = getattr(client, "close", None)
        if callable(getattr(client, "is_closed", None)) and callable(close):
            with suppress(Exception):  # of a loop that has ended
                closing = close()
                if isawaitable(closing):
                    await closing


async def _close_shared_client(litellm: Any) -> None:
    """Close the client of Anthropic's streams, which litellm keeps beside its pool, and have it made anew."""
    shared = vars(litellm).pop("module_level_aclient", None)  # made on first use: reading the attribute would make it
    transport = getattr(getattr(shared, "client", None), "_transport", None)
    if transport is not None:
        await transport.aclose()


def _import() -> ModuleType:
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside a dependency are not the operator's to fix
        litellm: Any = importlib.import_module("litellm")
        importlib.import_module("openai.resources.chat.completions")  # lazy in the SDK: 0.6 s on the first request
    litellm.suppress_debug_info = True  # else it prints advice on stdout with every error
    litellm.disable_hf_tokenizer_download = True
    for name in _LOGGERS:  # litellm writes its records to stderr itself; they belong where the host's logging goes
        logging.getLogger(name).handlers.clear()
    module: ModuleType = litellm
    return module


def _load_and_warm() -> ModuleType:
    global _warm  # per process, like the module
    litellm = load_litellm()
    with quiet():
        if not _warm:
            asyncio.run(first_calls(litellm))
            # Reads the CA file, which would block the event loop on the first request. litellm keeps the result.
            litellm.llms.custom_httpx.http_handler.get_ssl_configuration()
            _warm = True
    return litellm
